"""Refuse NaN and infinity in activations: one makes every sum NaN and shifts thresholds."""

from collections.abc import Sequence

import torch
from torch import Tensor

from crosscoder.core.sources import Sources
from crosscoder.core.types import Acts
from crosscoder.data.storage.store import Store
from crosscoder.errors import UserError


def read_finite(store: Store, shard: int, names: Sequence[str], rows: Tensor) -> Acts:
    """Read rows of a shard and refuse NaN and infinity in them.

    Args:
        store: The store.
        shard: Number of the shard.
        names: Sources, which are concatenated in this order.
        rows: Numbers of the rows, or a mask.

    Raises:
        UserError: A row has NaN or infinity.
    """
    acts = store.acts(shard, names)[rows]
    refuse_not_finite(store, shard, names, acts, rows)
    return acts


def refuse_not_finite(
    store: Store, shard: int, names: Sequence[str], acts: Acts, rows: Tensor
) -> None:
    """Refuse activations with NaN or infinity; the other arguments say where they were read.

    Raises:
        UserError: With the source, the shard and the row.
    """
    bad = find_not_finite(acts)
    if bad is None:
        return
    numbers = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
    streams = store.sources.subset(names).split(acts[bad : bad + 1])
    sources = [name for name, row in streams.items() if not row.isfinite().all()]
    raise UserError(
        f"store {store.folder} has NaN or infinity in {', '.join(sources)}, shard {shard}, "
        f"row {int(numbers[bad]) + 1}: nothing can be measured on it; harvest it again"
    )


def require_finite(store: Store, sources: Sources, exclude: Sequence[str]) -> None:
    """Read a whole store, and refuse NaN and infinity in tokens that are not excluded."""
    for shard in store:
        eligible = store.find_eligible(shard, sources.names, exclude)
        read_finite(store, shard, sources.names, eligible)


def find_not_finite(acts: Tensor) -> int | None:
    """Return the first row that has NaN or infinity, or None."""
    if acts.sum(dtype=torch.float32).isfinite():  # cheaper than a test of every value
        return None
    bad = (~acts.isfinite().all(dim=-1)).nonzero()[:, 0]
    return int(bad[0]) if len(bad) else None
