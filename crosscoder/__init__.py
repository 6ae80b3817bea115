"""Train and evaluate crosscoders for model diffing: one sparse code of a base and a finetuned language model."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosscoder.data import Store
    from crosscoder.diff.table import LatentTable
    from crosscoder.formats import export, load
    from crosscoder.lm import Pair, load_pair
    from crosscoder.model import Crosscoder
    from crosscoder.sparse import SparseCode

_PUBLIC = {
    "Crosscoder": "model",
    "LatentTable": "diff.table",
    "Pair": "lm",
    "SparseCode": "sparse",
    "Store": "data",
    "export": "formats",
    "load": "formats",
    "load_pair": "lm",
}

__all__ = ["Crosscoder", "LatentTable", "Pair", "SparseCode", "Store", "export", "load", "load_pair"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first asked for, so that light submodules stay light."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'crosscoder' has no attribute {name!r}")
    return getattr(importlib.import_module(f"crosscoder.{_PUBLIC[name]}"), name)
