"""Training with Lightning: the module, its data, callbacks and recipe.

This is the only code that imports lightning. Names are imported when they are first used, so that
settings can be checked without waiting for lightning.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosscoder.training.datamodule import ActsModule
    from crosscoder.training.fitting import fit
    from crosscoder.training.inputs import describe_inputs
    from crosscoder.training.module import CrosscoderModule
    from crosscoder.training.recipe import Recipe
    from crosscoder.training.saved_settings import read_settings
    from crosscoder.training.settings import check_request

_MODULES = {
    "ActsModule": "datamodule",
    "CrosscoderModule": "module",
    "Recipe": "recipe",
    "check_request": "settings",
    "describe_inputs": "inputs",
    "fit": "fitting",
    "read_settings": "saved_settings",
}

__all__ = [
    "ActsModule",
    "CrosscoderModule",
    "Recipe",
    "check_request",
    "describe_inputs",
    "fit",
    "read_settings",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'crosscoder.training' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"crosscoder.training.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
