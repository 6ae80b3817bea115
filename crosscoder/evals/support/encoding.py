"""Read activations of a range of a store's tokens, and encode them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.core.sparse import Code
from crosscoder.data import Store
from crosscoder.data.exclude import read_figure_exclude
from crosscoder.data.storage.finite import read_finite

BATCH_SIZE = 2048


@torch.no_grad()
def read_codes(
    crosscoder: Crosscoder, store: Store, low: int = 0, high: int | None = None
) -> Iterator[Code]:
    """Yield the codes of a store's tokens from `low` to `high`, in the store's order.

    Tokens that the crosscoder was not trained on are left out.
    """
    exclude = read_figure_exclude(crosscoder.provenance)
    for acts in read_acts(store, crosscoder.sources, low, high, exclude):
        yield crosscoder.encode(acts.to(crosscoder.W_enc.device))


def read_acts(
    store: Store,
    sources: Sources,
    low: int = 0,
    high: int | None = None,
    exclude: Sequence[str] = ("special",),
) -> Iterator[torch.Tensor]:
    """Yield batches of activations of a store's tokens from `low` to `high`.

    Args:
        store: Store of the activations.
        sources: Sources to read.
        low: First token.
        high: Token after the last one; None for the end of the store.
        exclude: Kinds of tokens that are left out.
    """
    high = len(store) if high is None else high
    start = 0
    for shard, count in enumerate(store.counts):
        rows = torch.arange(start, start + count)
        is_inside = (rows >= low) & (rows < high)
        selected = is_inside & store.find_eligible(shard, sources.names, exclude)
        if selected.any():
            acts = read_finite(store, shard, sources.names, selected)
            yield from acts.float().split(BATCH_SIZE)
        start += count


def load_acts(store: Store, sources: Sources, low: int, high: int) -> np.ndarray:
    """Load activations of a store's tokens from `low` to `high` as one matrix in float64."""
    return torch.cat(list(read_acts(store, sources, low, high))).double().numpy()
