"""A store's tokens in random order: every eligible token exactly once per epoch, in memory bounded by a buffer.

Shards are shuffled and read in groups that fill the buffer; tokens are shuffled within a group. A store smaller than the
buffer is thus shuffled perfectly. Which rows make a batch follows from the seed and the batch's number alone, so training can
go on anywhere, and each of several processes reads only the rows that it has of every batch.
"""

from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from itertools import count

import torch
from torch import Tensor

from crosscoder.data.store import Store
from crosscoder.errors import UserError
from crosscoder.sources import Sources
from crosscoder.types import Acts, Kind


class Mixing:
    """Batches [batch, d_total] of raw activations in the store's dtype, in memory for about `buffer_tokens` of them.

    Args:
        store: where activations come from.
        sources: which, in order.
        exclude: kinds of tokens that are left out, by name (see Kind).
        buffer_tokens: how many tokens are shuffled together, and thus held in memory, at least one shard.
    """

    def __init__(
        self, store: Store, sources: Sources, exclude: Sequence[str] = ("special",), buffer_tokens: int = 1_000_000
    ) -> None:
        store.require(sources)
        self.store, self.sources, self.buffer_tokens = store, sources, buffer_tokens
        self.excluded = excluded(exclude)
        self._held: Tensor | None = None

    def __len__(self) -> int:
        """Eligible tokens in an epoch."""
        return int(self._starts[-1])

    def batches(
        self, batch_size: int, seed: int = 0, first: int = 0, part: tuple[int, int] = (0, 1)
    ) -> Generator[Acts, None, None]:
        """Batch after batch without end, from number `first` on: an epoch's order is its own, what it leaves over opens the next.

        Of each batch a process gets its `part`: (which, of how many).
        """
        which, of = part
        epoch, skip = divmod(first * batch_size, len(self))
        rest = torch.empty(0, dtype=torch.int64)
        for number in count(epoch):
            for rows in self._order(torch.Generator().manual_seed(seed + 7919 * number)):
                if skip >= len(rows):
                    skip -= len(rows)
                    continue
                rows, skip = torch.cat([rest, rows[skip:]]), 0
                n = len(rows) // batch_size
                yield from self._read(rows[: n * batch_size].view(n, of, batch_size // of)[:, which])
                rest = rows[n * batch_size :]

    def sequential(self, batch_size: int) -> Iterator[Acts]:
        """All eligible tokens in the store's own order; the last batch may be smaller."""
        for shard in self.store:
            yield from self._eligible(shard).split(batch_size)

    def _order(self, generator: torch.Generator) -> Iterator[Tensor]:
        """An epoch's rows, group by group; a row is the number of an eligible token."""
        counts = self._starts.diff().tolist()
        for group in self._groups(generator):
            rows = torch.cat([torch.arange(counts[shard]) + self._starts[shard] for shard in sorted(group)])
            yield rows[torch.randperm(len(rows), generator=generator)]

    def _groups(self, generator: torch.Generator) -> Iterator[list[int]]:
        group, size = [], 0
        for shard in torch.randperm(len(self.store.counts), generator=generator).tolist():
            if group and size + self.store.counts[shard] > self.buffer_tokens:
                yield group
                group, size = [], 0
            group.append(shard)
            size += self.store.counts[shard]
        yield group

    @cached_property
    def _starts(self) -> Tensor:
        """How many eligible tokens there are before each shard, and in all."""
        counts = [int(self._chosen(shard).sum()) for shard in self.store]
        return torch.tensor([0, *counts]).cumsum(0)

    def _chosen(self, shard: int) -> Tensor:
        return ~torch.isin(self.store.tokens(shard).kind, self.excluded)

    def _eligible(self, shard: int) -> Acts:
        return self.store.acts(shard, self.sources.names)[self._chosen(shard)]

    def _read(self, batches: Tensor) -> Iterator[Acts]:
        """The activations of these rows [n_batches, batch_size]."""
        if len(self.store) <= self.buffer_tokens:  # read once, for all epochs
            if self._held is None:
                self._held = self._gather(torch.arange(len(self)))
            yield from (self._held[rows] for rows in batches)
        else:
            acts = self._gather(batches.flatten()).view(*batches.shape, self.sources.d_total)
            yield from (batch.clone() for batch in acts)  # not the whole, by way of a view

    def _gather(self, rows: Tensor) -> Acts:
        acts = torch.empty(len(rows), self.sources.d_total, dtype=getattr(torch, self.store.meta["dtype"]))
        shards = torch.searchsorted(self._starts, rows, right=True) - 1
        for shard in shards.unique().tolist():
            here = (shards == shard).nonzero()[:, 0]
            wanted = self._chosen(shard).nonzero()[rows[here] - self._starts[shard], 0]
            acts[here] = self.store.acts(shard, self.sources.names, wanted)
        return acts


def excluded(kinds: Sequence[str]) -> Tensor:
    """Kinds of tokens (see Kind) by name."""
    if unknown := set(kinds) - set(Kind.NAMES):
        raise UserError(f"kinds of tokens are {', '.join(Kind.NAMES)}, not {', '.join(sorted(unknown))}")
    return torch.tensor([Kind.NAMES.index(name) for name in kinds])
