"""Choose items from a list without randomness."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def take_evenly(items: Sequence[Item], n: int) -> list[Item]:
    """Return `n` items at even distances, beginning with the first; all if there are fewer."""
    n = min(n, len(items))
    return [items[i * len(items) // n] for i in range(n)]
