"""Train and evaluate crosscoders for model diffing: one sparse code of a base and a finetuned language model."""

import importlib
from typing import Any

_PUBLIC = {"Crosscoder": "model", "Pair": "lm", "SparseCode": "sparse", "Store": "data", "load_pair": "lm"}

__all__ = ["Crosscoder", "Pair", "SparseCode", "Store", "load_pair"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first asked for, so that light submodules stay light."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'crosscoder' has no attribute {name!r}")
    return getattr(importlib.import_module(f"crosscoder.{_PUBLIC[name]}"), name)
