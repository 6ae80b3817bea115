"""A store's tokens in random order: every eligible token exactly once per epoch, in memory bounded by a buffer.

Shards are shuffled and read in groups that fill the buffer; tokens are shuffled within a group. A store smaller than the
buffer is thus shuffled perfectly.
"""

from collections.abc import Iterator, Sequence

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
        if unknown := set(exclude) - set(Kind.NAMES):
            raise UserError(f"kinds of tokens are {', '.join(Kind.NAMES)}, not {', '.join(sorted(unknown))}")
        self.store, self.sources, self.buffer_tokens = store, sources, buffer_tokens
        self.excluded = torch.tensor([Kind.NAMES.index(name) for name in exclude])
        self._held: tuple[list[int], Tensor] | None = None

    def __len__(self) -> int:
        """Eligible tokens in an epoch."""
        return sum(int(self._eligible(shard).sum()) for shard in self.store)

    def epoch(self, batch_size: int, generator: torch.Generator, rest: list[Tensor] | None = None) -> Iterator[Acts]:
        """One epoch in full batches; what is left of a group goes in front of the next.

        `rest` is what another epoch left over, and goes in front of the first; at the end it is what this one leaves.
        """
        rest = [] if rest is None else rest
        for group in self._groups(generator):
            acts = self._read(group)
            order = torch.randperm(len(acts), generator=generator)
            start = batch_size - sum(map(len, rest)) if rest else 0
            if rest and start <= len(order):
                yield torch.cat([*rest, acts[order[:start]]])
                rest.clear()
            if not rest:
                for stop in range(start + batch_size, len(order) + 1, batch_size):
                    yield acts[order[stop - batch_size : stop]]
                    start = stop
                order = order[start:]
            rest.append(acts[order])
            del acts  # before the next group is read

    def sequential(self, batch_size: int) -> Iterator[Acts]:
        """All eligible tokens in the store's own order; the last batch may be smaller."""
        for shard in self.store:
            yield from self.store.acts(shard, self.sources.names)[self._eligible(shard)].split(batch_size)

    def _groups(self, generator: torch.Generator) -> Iterator[list[int]]:
        group, size = [], 0
        for shard in torch.randperm(len(self.store.counts), generator=generator).tolist():
            if group and size + self.store.counts[shard] > self.buffer_tokens:
                yield group
                group, size = [], 0
            group.append(shard)
            size += self.store.counts[shard]
        yield group

    def _eligible(self, shard: int) -> Tensor:
        return ~torch.isin(self.store.tokens(shard).kind, self.excluded)

    def _read(self, group: list[int]) -> Tensor:
        group = sorted(group)
        if self._held is None or self._held[0] != group:
            self._held = None  # free before reading
            eligible = {shard: self._eligible(shard) for shard in group}
            acts = torch.empty(
                sum(int(rows.sum()) for rows in eligible.values()),
                self.sources.d_total,
                dtype=getattr(torch, self.store.meta["dtype"]),
            )
            start = 0
            for shard, rows in eligible.items():
                part = self.store.acts(shard, self.sources.names)[rows]
                acts[start : start + len(part)] = part
                start += len(part)
            self._held = (group, acts)
        return self._held[1]
