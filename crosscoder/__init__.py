"""Train and evaluate crosscoders for model diffing.

A crosscoder is one sparse code of the activations of a base and a finetuned language model.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosscoder.analysis.table import LatentTable
    from crosscoder.behaviours.spec import BehaviourSpec
    from crosscoder.cli.catalogue import load_behaviour
    from crosscoder.core.model import Crosscoder
    from crosscoder.core.sparse import SparseCode
    from crosscoder.data import Store
    from crosscoder.formats import export, load
    from crosscoder.lm import Pair, load_pair, make_chat

__version__ = "0.2.0"  # pyproject.toml takes the version of the distribution from here

_PUBLIC = {
    "BehaviourSpec": "behaviours.spec",
    "Crosscoder": "core.model",
    "LatentTable": "analysis.table",
    "Pair": "lm",
    "SparseCode": "core.sparse",
    "Store": "data",
    "export": "formats",
    "load": "formats",
    "load_behaviour": "cli.catalogue",
    "load_pair": "lm",
    "make_chat": "lm",
}

__all__ = [
    "BehaviourSpec",
    "Crosscoder",
    "LatentTable",
    "Pair",
    "SparseCode",
    "Store",
    "export",
    "load",
    "load_behaviour",
    "load_pair",
    "make_chat",
]

if sys.argv[:1] == ["-m"] and any(
    word.removeprefix("-m").startswith("crosscoder.") for word in sys.orig_argv
):
    # python -m crosscoder.…: the package of that command is imported next, which takes seconds
    from crosscoder.runtime.signals import listen

    listen()


def __getattr__(name: str) -> Any:
    """Public names are imported when first asked for, so that light submodules stay light."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'crosscoder' has no attribute {name!r}")
    return getattr(importlib.import_module(f"crosscoder.{_PUBLIC[name]}"), name)
