"""A store's tokens in random order: every eligible token exactly once per epoch, in bounded memory.

Shards are shuffled and read in groups that fill a buffer; tokens are shuffled within a group. A
store smaller than the buffer is therefore shuffled perfectly. The rows of a batch follow from the
seed and the batch's number alone, so training can resume at any batch, and each of several
processes reads only its own rows of every batch.
"""

from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from itertools import count

import torch
from torch import Tensor

from crosscoder.core.sources import Sources
from crosscoder.core.types import Acts
from crosscoder.data.exclude import EXCLUDE, parse_kinds
from crosscoder.data.storage.finite import read_finite
from crosscoder.data.storage.store import Store
from crosscoder.errors import UserError

SEED_STEP = 7919  # between the seeds of two epochs


class Mixing:
    """Shuffled batches [batch, d_total] of raw activations, in the store's dtype.

    Args:
        store: The store that is read.
        sources: Sources, which are concatenated in this order.
        exclude: Kinds of tokens to exclude, by name (see crosscoder/data/exclude.py).
        buffer_tokens: Number of tokens that are shuffled together and held in memory; at least one
            shard is.
    """

    def __init__(
        self,
        store: Store,
        sources: Sources,
        exclude: Sequence[str] = EXCLUDE,
        buffer_tokens: int = 1_000_000,
    ) -> None:
        store.require(sources)
        parse_kinds(exclude)  # refuses unknown names
        self.store = store
        self.sources = sources
        self.buffer_tokens = buffer_tokens
        self.exclude = exclude
        self._held: Tensor | None = None
        if not len(self):
            raise UserError(
                f"nothing is left of store {store.folder}: its {len(store):,} tokens "
                f"are all left out by exclude=[{','.join(exclude)}]"
            )

    def __len__(self) -> int:
        """Return the number of eligible tokens in an epoch."""
        return int(self._starts[-1])

    def iter_batches(
        self, batch_size: int, seed: int = 0, first: int = 0, process: tuple[int, int] = (0, 1)
    ) -> Generator[Acts, None, None]:
        """Yield batches without end. Rows left over by an epoch open the next one.

        Args:
            batch_size: Tokens per batch, of all processes together.
            seed: Random seed of the order; every epoch has another order.
            first: Number of the first batch, to resume training.
            process: Rank of this process and number of processes; each gets its own part of every
                batch.
        """
        rank, n_processes = process
        own_size = batch_size // n_processes
        for rows in _take_whole_batches(self._iter_rows(seed, first * batch_size), batch_size):
            n = len(rows) // batch_size
            yield from self._read(rows.view(n, n_processes, own_size)[:, rank])

    def iter_in_order(self, batch_size: int) -> Iterator[Acts]:
        """Yield all eligible tokens in the order of the store; a shard's last batch may be smaller.

        Raises:
            UserError: A token has NaN or infinity.
        """
        for shard in self.store:
            eligible = self._find_eligible(shard)
            acts = read_finite(self.store, shard, self.sources.names, eligible)
            yield from acts.split(batch_size)

    def _iter_rows(self, seed: int, n_skipped: int) -> Iterator[Tensor]:
        """Yield rows, epoch after epoch and group after group, from row `n_skipped` on."""
        first_epoch, skip = divmod(n_skipped, len(self))
        for epoch in count(first_epoch):
            generator = torch.Generator().manual_seed(seed + SEED_STEP * epoch)
            for rows in self._shuffle_epoch(generator):
                if skip < len(rows):
                    yield rows[skip:]
                skip = max(skip - len(rows), 0)

    def _shuffle_epoch(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield an epoch's rows, group after group; a row is the number of an eligible token."""
        for group in self._shuffle_shards(generator):
            rows = torch.cat([self._number_rows(shard) for shard in sorted(group)])
            yield rows[torch.randperm(len(rows), generator=generator)]

    def _number_rows(self, shard: int) -> Tensor:
        start = self._starts[shard]
        return torch.arange(int(self._starts[shard + 1] - start)) + start

    def _shuffle_shards(self, generator: torch.Generator) -> Iterator[list[int]]:
        """Yield groups of shards that fill the buffer."""
        group: list[int] = []
        size = 0
        for shard in torch.randperm(len(self.store.counts), generator=generator).tolist():
            if group and size + self.store.counts[shard] > self.buffer_tokens:
                yield group
                group = []
                size = 0
            group.append(shard)
            size += self.store.counts[shard]
        yield group

    @cached_property
    def _starts(self) -> Tensor:
        """Number of eligible tokens before each shard, and in all."""
        counts = [int(self._find_eligible(shard).sum()) for shard in self.store]
        return torch.tensor([0, *counts]).cumsum(0)

    def _find_eligible(self, shard: int) -> Tensor:
        return self.store.find_eligible(shard, self.sources.names, self.exclude)

    def _read(self, batches: Tensor) -> Iterator[Acts]:
        """Yield the activations of these rows [n_batches, batch_size], batch by batch."""
        if len(self.store) <= self.buffer_tokens:  # read once, for all epochs
            if self._held is None:
                self._held = self._gather(torch.arange(len(self)))
            for rows in batches:
                yield self._held[rows]
        else:
            acts = self._gather(batches.flatten()).view(*batches.shape, self.sources.d_total)
            for batch in acts:
                yield batch.clone()  # a view would keep all batches in memory

    def _gather(self, rows: Tensor) -> Acts:
        acts = torch.empty(len(rows), self.sources.d_total, dtype=self.store.dtype)
        shards = torch.searchsorted(self._starts, rows, right=True) - 1
        for shard in shards.unique().tolist():
            here = (shards == shard).nonzero()[:, 0]
            wanted = self._find_eligible(shard).nonzero()[rows[here] - self._starts[shard], 0]
            acts[here] = self.store.acts(shard, self.sources.names, wanted)
        return acts


def _take_whole_batches(chunks: Iterator[Tensor], batch_size: int) -> Iterator[Tensor]:
    """Yield the same rows in multiples of `batch_size`; what a chunk leaves over opens the next."""
    rest = torch.empty(0, dtype=torch.int64)
    for chunk in chunks:
        rows = torch.cat([rest, chunk])
        n_whole = len(rows) // batch_size * batch_size
        yield rows[:n_whole]
        rest = rows[n_whole:]
