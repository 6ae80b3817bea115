"""Text to tokens to activation stores, and batches from them. Only this package uses `datasets`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosscoder.data.documents import Text
    from crosscoder.data.harvest import Harvest
    from crosscoder.data.normalization import Scale
    from crosscoder.data.shuffle import Mixing
    from crosscoder.data.splits import Splits, Stored
    from crosscoder.data.storage.store import Store
    from crosscoder.data.streaming import Stream

_MODULES = {
    "Harvest": "harvest",
    "Mixing": "shuffle",
    "Scale": "normalization",
    "Splits": "splits",
    "Store": "storage.store",
    "Stored": "splits",
    "Stream": "streaming",
    "Text": "documents",
}

__all__ = ["Harvest", "Mixing", "Scale", "Splits", "Store", "Stored", "Stream", "Text"]


def __getattr__(name: str) -> Any:
    """Import a class when it is first used: planted data need no transformers."""
    if name not in _MODULES:
        raise AttributeError(f"module 'crosscoder.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"crosscoder.data.{_MODULES[name]}"), name)
