"""Activations from the models straight into training batches, without a store.

It is for more tokens than a disk can hold. Every token is used exactly once, drawn from a shuffled
buffer of about `buffer_tokens` (slots.py). A thread runs the models on the next tokens meanwhile.
The slots of a batch follow from the seed and the batch's number alone, so training can resume at
any batch: only the tokens in the buffer are harvested again.

The text begins again where it ends, or after `n_tokens`. With `repeat=False` it does not: batches
end once the buffer is used up, except for tokens that would have stayed in it at the next refresh,
which are a tenth of it at most.
"""

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice

import torch
from torch import Tensor

from crosscoder import distributed
from crosscoder.core.sources import Sources
from crosscoder.core.types import Acts, Tokens
from crosscoder.data.corpora.corpus import Corpus
from crosscoder.data.corpora.tally import Tally
from crosscoder.data.exclude import (
    EXCLUDE,
    clip_norms,
    compute_norms,
    is_outlier,
    parse_kinds,
    replace_rows,
)
from crosscoder.data.forward import move_finite, read_streams
from crosscoder.data.packing import iter_sequences
from crosscoder.data.prefetch import Prefetcher
from crosscoder.data.slots import Refresh, SlotSchedule
from crosscoder.errors import UserError
from crosscoder.lm import Pair
from crosscoder.lm.layout import Packing

log = logging.getLogger(__name__)


def choose_model_device(device: torch.device) -> torch.device:
    """Return the device of the models: the last of several GPUs, beside the one that trains.

    This holds for a single process that was not asked for a certain GPU; otherwise it is `device`.
    """
    n_gpus = torch.cuda.device_count()
    is_free = device == torch.device("cuda") and distributed.size() == 1
    if n_gpus > 1 and is_free:
        return torch.device("cuda", n_gpus - 1)
    return device


@dataclass(frozen=True)
class Stream:
    """The training tokens of a pair of models, read while training.

    Args:
        pair: The models, all in memory at once.
        read: The sources that are read.
        sources: The sources that are trained on, in order.
        corpora: The corpora of the text, as in `Text`.
        shares: Share of the tokens that each corpus gets.
        seq_len: Tokens per sequence.
        n_tokens: Tokens of an epoch, after which the text begins again.
        batch_tokens: Tokens per forward pass.
        buffer_tokens: Tokens in memory at most, for all processes together: half of them are
            shuffled together, and half are harvested ahead.
        exclude: Kinds of tokens to exclude, by name.
        limits: Norm above which a token is an outlier, by source that is read; without an entry no
            token is. The slot of a token is decided before its activation is read, so an outlier
            leaves its slot to the next eligible token of its sequence.
        repeat: Whether the text begins again where it ends; if not, batches end there.
        max_unusable: The largest fraction of rows that may have no document
            (crosscoder/data/corpora/tally.py).
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
    exclude: Sequence[str] = EXCLUDE
    limits: Mapping[str, float] = field(default_factory=dict)
    repeat: bool = True
    max_unusable: float = 0.1

    def __len__(self) -> int:
        """Return the number of tokens in an epoch, with those that are excluded."""
        return self.n_tokens

    @cached_property
    def packing(self) -> Packing:
        """Method of keeping documents apart (see crosscoder/lm/layout.py)."""
        return self.pair.choose_packing(self.read, self.seq_len)

    def iter_batches(
        self, batch_size: int, seed: int = 0, first: int = 0, process: tuple[int, int] = (0, 1)
    ) -> Generator[Acts, None, None]:
        """Yield batches, without end if the text is repeated.

        Every process has its own sequences and its own buffer.

        Args:
            batch_size: Tokens per batch, of all processes together.
            seed: Random seed of the order.
            first: Number of the first batch, to resume training.
            process: Rank of this process and number of processes.

        Raises:
            UserError: The text has fewer tokens than a batch.
        """
        n_processes = process[1]
        size = batch_size // n_processes
        n_ahead = self.buffer_tokens // 2 // n_processes
        schedule = SlotSchedule(max(1, n_ahead // size) * size, size, seed)
        refresh = schedule.seek(first)
        rows = torch.empty(schedule.n_slots, self.sources.d_total, dtype=self.pair.dtype)
        self.pair.device = choose_model_device(self.pair.device)
        with self.pair.keep_all_loaded():
            wanted = schedule.held[refresh.fill]
            acts = self._iter_acts(process, wanted, schedule.n_filled)
            prefetcher = Prefetcher(acts, max_rows=n_ahead)
            try:
                while True:
                    batches = self._fill_slots(prefetcher, rows, refresh, schedule)
                    if not len(batches) and schedule.n_filled == schedule.n_slots:
                        raise UserError(
                            f"the text has only {prefetcher.n_tokens:,} tokens to train on, "
                            f"too few for batch_size={batch_size:,}; add data, or lower batch_size"
                        )
                    for slots in batches[refresh.n_done :]:
                        yield rows[slots]
                    if len(batches) < len(refresh.batches):
                        return
                    refresh = schedule.refresh()
            finally:
                prefetcher.close()

    def _fill_slots(
        self, prefetcher: Prefetcher, rows: Tensor, refresh: Refresh, schedule: SlotSchedule
    ) -> Tensor:
        """Fill the slots of a refresh.

        Returns:
            The slots of its batches; only of full ones if the text has ended.
        """
        has_ended = prefetcher.fill(rows, refresh.fill) < len(refresh.fill)
        if not has_ended and refresh.n_done and not self.repeat:
            # the text may have ended in a batch that is done and not read again
            has_ended = prefetcher.ends_before(schedule.n_filled)
        if not has_ended:
            return refresh.batches
        return schedule.select_full_batches(refresh.batches, prefetcher.n_tokens or 0)

    def _iter_acts(
        self, process: tuple[int, int], wanted: Tensor, since: int
    ) -> Generator[Acts, None, int]:
        """Yield activations, a forward pass at a time.

        Args:
            process: Rank of this process and number of processes.
            wanted: Numbers of the tokens to read, rising. The number of a token counts the tokens
                of this process that are not excluded.
            since: All tokens from this number on are read, too.

        Returns:
            The number of tokens, if the text ends.
        """
        excluded = parse_kinds(self.exclude)
        n_sequences = max(1, self.batch_tokens // self.seq_len)
        n_tokens = 0
        found = []
        for tokens in islice(self._iter_sequences(), process[0], None, process[1]):
            rows = (~torch.isin(tokens.kind, excluded)).nonzero()[:, 0]
            numbers = n_tokens + torch.arange(len(rows))
            n_tokens += len(rows)
            rows = rows[(numbers >= since) | isin_sorted(numbers, wanted)]
            if len(rows):
                found.append((tokens, rows))
            if len(found) == n_sequences:
                yield self._read_rows(found)
                found = []
        if found:
            yield self._read_rows(found)
        return n_tokens

    def _iter_sequences(self) -> Iterator[Tokens]:
        """Yield the sequences of the text, again and again if it is repeated."""
        lms = {source.lm for source in self.read}
        is_first = True
        while is_first or self.repeat:
            n_yielded = 0
            sequences = iter_sequences(
                self.pair.tokenizer,
                self.corpora,
                self.shares,
                "train",
                self.n_tokens,
                self.seq_len,
                tally=Tally("train", self.max_unusable, at_once=True, is_quiet=not is_first),
                takes_less=True,
                require=partial(self.pair.require_ids, lms=lms),
            )
            for sequence in sequences:
                n_yielded += self.seq_len
                yield sequence
            if is_first and n_yielded < self.n_tokens and distributed.rank() == 0:
                self._warn_of_end(n_yielded)
            is_first = False

    def _warn_of_end(self, n_tokens: int) -> None:
        if self.repeat:
            consequence = "it begins again"
        else:
            consequence = "training ends with it, as data.repeat=false"
        log.warning(
            "the text ends after %d tokens, before n_tokens=%d: %s",
            n_tokens,
            self.n_tokens,
            consequence,
        )

    def _read_rows(self, chosen: list[tuple[Tokens, Tensor]]) -> Acts:
        """Run the models on some sequences, and return the chosen rows of each, [n, d_total]."""
        tokens = Tokens.cat([sequence for sequence, _ in chosen])
        rows = torch.cat([own + i * self.seq_len for i, (_, own) in enumerate(chosen)])
        found: dict[str, Tensor] = {}
        is_usable = ~torch.isin(tokens.kind, parse_kinds(self.exclude))
        for lm in dict.fromkeys(source.lm for source in self.read):
            sources = [source for source in self.read if source.lm == lm]
            streams = read_streams(self.pair, lm, sources, tokens, self.seq_len, self.packing)
            for source, acts in streams.items():
                found[source.name] = move_finite(acts, tokens, source)
                limit = self.limits.get(source.name)
                if limit:
                    is_usable &= ~is_outlier(compute_norms(found[source.name]), limit)
        rows = replace_rows(rows, is_usable, self.seq_len)
        for name, acts in found.items():
            found[name] = clip_norms(acts[rows], self.limits.get(name))
        columns = [self.read.read_source(name, found.__getitem__) for name in self.sources.names]
        return torch.cat(columns, dim=-1)


def isin_sorted(values: Tensor, wanted: Tensor) -> Tensor:
    """Return a mask of the values that are among `wanted`, which rises."""
    if not len(wanted):
        return torch.zeros_like(values, dtype=torch.bool)
    places = torch.searchsorted(wanted, values).clamp(max=len(wanted) - 1)
    return wanted[places] == values
