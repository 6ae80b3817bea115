"""Activations from the models straight into training batches, without a store: for more tokens than a disk holds.

    a buffer of slots is filled; its slots are shuffled; batch after batch is taken, until 9/10 of them are free;
    these are filled with new tokens; all slots are shuffled; …

Every token is thus taken exactly once, from among about `buffer_tokens` others, and what is taken never is what was. Meanwhile
a thread runs the models on what comes next. Which slots a batch is taken from follows from the seed and the batch's number
alone, so training can go on anywhere: then only tokens that are in the buffer are harvested once more.
"""

import math
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from crosscoder import processes
from crosscoder.data.harvest import checked, streams
from crosscoder.data.mixing import excluded
from crosscoder.data.text import Corpus
from crosscoder.data.tokens import packed
from crosscoder.lm import Pair
from crosscoder.sources import Sources
from crosscoder.types import Acts, Tokens

REPLACED = 0.9


def schedule(n_slots: int, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Refresh after refresh: the slots that are filled with the next tokens, and those of each batch [batches, batch_size].

    `n_slots` is a multiple of `batch_size`. At least 9/10 of the slots are taken between one refresh and the next.
    """
    n_batches = math.ceil(REPLACED * n_slots / batch_size)
    free, kept = torch.arange(n_slots), torch.arange(0)
    while True:
        order = torch.cat([kept, free])[torch.randperm(n_slots, generator=generator)]
        taken, remaining = order.split([n_batches * batch_size, n_slots - n_batches * batch_size])
        yield free, taken.view(n_batches, batch_size)
        free, kept = taken, remaining


def beside_training(device: torch.device) -> torch.device:
    """Where the models go: of several GPUs the last, if one process trains on the first and nobody asked for another."""
    several = torch.cuda.device_count() > 1 and processes.size() == 1
    return torch.device("cuda", torch.cuda.device_count() - 1) if several and device == torch.device("cuda") else device


@dataclass(frozen=True)
class Stream:
    """The training tokens of a pair of models, in the order of the text.

    Args:
        pair: the models, all in memory at once.
        read: the streams that are read.
        sources: those that are trained on, in order.
        corpora, shares, seq_len: the text; see `Text`.
        n_tokens: of an epoch, after which the text begins anew.
        batch_tokens: of a forward pass.
        buffer_tokens: held in memory at most: half of them shuffled together, half harvested ahead; of all processes.
        exclude: kinds of tokens that are left out, by name.
    """

    pair: Pair
    read: Sources
    sources: Sources
    corpora: Sequence[Corpus]
    shares: Sequence[float]
    seq_len: int
    n_tokens: int
    batch_tokens: int
    buffer_tokens: int
    exclude: Sequence[str] = ("special",)

    def __len__(self) -> int:
        """Tokens in an epoch, those left out among them."""
        return self.n_tokens

    def batches(
        self, batch_size: int, seed: int = 0, first: int = 0, part: tuple[int, int] = (0, 1)
    ) -> Generator[Acts, None, None]:
        """Batch after batch without end, from number `first` on; every process has sequences and a buffer of its own."""
        of = part[1]
        size, half = batch_size // of, self.buffer_tokens // 2 // of
        n_slots = max(1, half // size) * size
        refreshes = schedule(n_slots, size, torch.Generator().manual_seed(seed))
        # which token each slot holds when batch `first` is due
        held, n_filled, skip = torch.empty(n_slots, dtype=torch.int64), 0, first
        for free, batches in refreshes:
            held[free] = torch.arange(n_filled, n_filled + len(free))
            n_filled += len(free)
            if skip < len(batches):
                break
            skip -= len(batches)
        batches, gone = batches[skip:], batches[:skip].flatten()
        held[gone] = n_filled  # those tokens have been trained on
        fill = held.argsort()[: n_slots - len(gone)]
        rows = torch.empty(n_slots, self.sources.d_total, dtype=self.pair.dtype)
        self.pair.device = beside_training(self.pair.device)
        with self.pair.together():
            ahead = Ahead(self._acts(part, held[fill], n_filled), half)
            try:
                while True:
                    ahead.move(rows, fill)
                    yield from (rows[slots] for slots in batches)
                    fill, batches = next(refreshes)
            finally:
                ahead.close()

    def _acts(self, part: tuple[int, int], wanted: Tensor, since: int) -> Iterator[Acts]:
        """Activations of the tokens with these rising numbers, and of all from number `since` on, a forward pass at a time.

        A token's number counts those of this process that are not left out.
        """
        left_out, n = excluded(self.exclude), max(1, self.batch_tokens // self.seq_len)
        number, found = 0, []
        for tokens in islice(self._sequences(), part[0], None, part[1]):
            rows = (~torch.isin(tokens.kind, left_out)).nonzero()[:, 0]
            numbers, number = number + torch.arange(len(rows)), number + len(rows)
            if number <= since:  # of most of them nothing is wanted any more
                at = torch.searchsorted(wanted, numbers).clamp(max=len(wanted) - 1)
                rows = rows[wanted[at] == numbers] if len(wanted) else rows[:0]
            elif numbers[0] < since:
                rows = rows[(numbers >= since) | torch.isin(numbers, wanted)]
            if len(rows):
                found.append((tokens, rows))
            if len(found) == n:
                yield self._read(found)
                found = []

    def _sequences(self) -> Iterator[Tokens]:
        while True:
            yield from packed(self.pair.tokenizer, self.corpora, self.shares, "train", self.n_tokens, self.seq_len)

    def _read(self, chosen: list[tuple[Tokens, Tensor]]) -> Acts:
        """The wanted rows of some sequences, [n, d_total]."""
        tokens = Tokens.cat([sequence for sequence, _ in chosen])
        rows = torch.cat([wanted + i * self.seq_len for i, (_, wanted) in enumerate(chosen)])
        found: dict[str, Tensor] = {}
        for lm in dict.fromkeys(source.lm for source in self.read):
            own = [source for source in self.read if source.lm == lm]
            for source, acts in streams(self.pair, lm, own, tokens, self.seq_len).items():
                found[source.name] = checked(acts, tokens, source)[rows]
        return torch.cat([self.read.stream(name, found.__getitem__) for name in self.sources.names], dim=-1)


class Ahead:
    """Blocks of activations [n, d_total], made by a thread that is `most` rows ahead at most."""

    def __init__(self, blocks: Iterator[Acts], most: int) -> None:
        self._most, self._rows = most, 0
        self._blocks: deque[Tensor] = deque()
        self._error: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, args=(blocks,), daemon=True)
        self._thread.start()

    def move(self, rows: Tensor, slots: Tensor) -> None:
        """Put the next activations into these slots of `rows`."""
        while len(slots):
            with self._changed:
                self._changed.wait_for(lambda: self._blocks or self._error)
                if not self._blocks:
                    raise self._error  # type: ignore[misc]
                block = self._blocks.popleft()
                if len(block) > len(slots):
                    self._blocks.appendleft(block[len(slots) :])
                    block = block[: len(slots)]
                self._rows -= len(block)
                self._changed.notify()
            rows[slots[: len(block)]] = block
            slots = slots[len(block) :]

    def close(self) -> None:
        """End the thread once the pass under way is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self, blocks: Iterator[Acts]) -> None:
        try:
            for block in blocks:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or self._rows < self._most)
                    if self._closed:
                        return
                    self._blocks.append(block)
                    self._rows += len(block)
                    self._changed.notify()
        except BaseException as error:  # it is raised where activations are waited for
            with self._changed:
                self._error = error
                self._changed.notify()
