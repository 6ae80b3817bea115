"""Text to tokens to activation stores, and batches from them. The only code that touches `datasets`."""

from crosscoder.data.harvest import Harvest
from crosscoder.data.mixing import Mixing
from crosscoder.data.scale import Scale
from crosscoder.data.splits import Splits, Stored, Text
from crosscoder.data.store import Store
from crosscoder.data.stream import Stream

__all__ = ["Harvest", "Mixing", "Scale", "Splits", "Store", "Stored", "Stream", "Text"]
