"""Text to tokens for models with different tokenizers: sequences of the same text for all models.

    words   Line 3 | 3 times 4 … | pad
    bytes   BOS L i n e _ 3 | BOS 3 _ t i m … | pad

A piece ends with a pair of tokens (crosscoder/lm/align.py), and a sequence where one of the models
has no room for the next pair.

Every piece begins with the model's own BOS, if it has one. Padding is at the end, where no other
token sees it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crosscoder.core.types import Kind, Tokens
from crosscoder.data.corpora.corpus import Corpus, Split
from crosscoder.data.corpora.mixing import mix_documents
from crosscoder.data.corpora.tally import Tally
from crosscoder.data.shortage import make_shortage_error, require_token_counts
from crosscoder.data.tokens import TokenSet
from crosscoder.lm.align import Token, key_tokens, split_at_pairs
from crosscoder.lm.text import Document, Tokenizer, get_bos

Step = Sequence[list[Token]]
"""The tokens of each model up to a pair, which ends them."""


@dataclass(frozen=True)
class AlignedTokenSet(TokenSet):
    """Pairs of tokens of several models; `tokens` are those of one model.

    Args:
        own: The tokens on which each model is run, by model: whole sequences.
        rows: Which of these tokens are paired, by model.
    """

    own: Mapping[str, Tokens]
    rows: Mapping[str, Tensor]

    @cached_property
    def starts(self) -> Tensor:
        lm = next(iter(self.own))
        boundaries = torch.arange(0, len(self.own[lm]) + 1, self.seq_len)
        return torch.searchsorted(self.rows[lm], boundaries)

    @cached_property
    def sha256(self) -> str:
        """Hash of everything that the models see, and of which tokens are paired."""
        digest = hashlib.sha256(f"{self.seq_len};".encode())
        for lm, own in self.own.items():
            for column in (own.ids, own.position, self.rows[lm]):
                digest.update(column.to(torch.int32).numpy().tobytes())
        return digest.hexdigest()

    @property
    def meta(self) -> dict[str, Any]:
        """Entries of the store's meta.json, with the paired fraction of each model's text."""
        text_kinds = torch.tensor([Kind.PLAIN, Kind.CHAT])
        kept = {}
        for lm, own in self.own.items():
            kept[lm] = len(self.tokens) / int(torch.isin(own.kind, text_kinds).sum())
        return {"aligned": "spans", "kept": kept, **self.notes}

    def get_model_input(self, lm: str, start: int, stop: int) -> tuple[Tokens, Tensor | slice]:
        first = start * self.seq_len
        tokens = self.own[lm][first : stop * self.seq_len]
        rows = self.rows[lm][int(self.starts[start]) : int(self.starts[stop])]
        return tokens, rows - first


def pack_aligned(
    tokenizers: Mapping[str, Tokenizer],
    leader: str,
    corpora: Sequence[Corpus],
    shares: Sequence[float],
    split: Split,
    n_tokens: int,
    seq_len: int,
    max_unusable: float = 0.1,
) -> AlignedTokenSet:
    """Pack at least `n_tokens` pairs of tokens into whole sequences.

    Args:
        tokenizers: Tokenizer of each model.
        leader: The model whose tokens are the tokens of the set.
        corpora: The corpora.
        shares: Share of the tokens that each corpus gets.
        split: The split that is read.
        n_tokens: Number of pairs.
        seq_len: Tokens per sequence.
        max_unusable: The largest fraction of rows that may be left out.

    Raises:
        UserError: The corpora have too few pairs, too many rows are unusable, or no token is asked
            for.
    """
    require_token_counts(split, n_tokens, seq_len)
    tally = Tally(split, max_unusable)
    starts = [_make_start(tokenizer) for tokenizer in tokenizers.values()]

    def cut(document: Document) -> list[list[list[Token]]]:
        texts = [key_tokens(tokenizer, document) for tokenizer in tokenizers.values()]
        for tokenizer in tokenizers.values():
            tally.note_date(tokenizer, document)
        return split_at_pairs(texts, [len(start) for start in starts])

    sequences = []
    n = 0
    documents = mix_documents(cut, corpora, shares, split, n_tokens, tally)
    for sequence in _iter_aligned_sequences(documents, starts, seq_len):
        sequences.append(sequence)
        n += int(sequence[0, -1].sum())
        if n >= n_tokens:
            break
    tally.end()
    if n < n_tokens:
        raise make_shortage_error(split, n, n_tokens, seq_len, "paired ", tally)
    own = {}
    rows = {}
    for lm, columns in zip(tokenizers, torch.cat(sequences, dim=-1), strict=True):
        own[lm] = Tokens(*columns[:-1])
        rows[lm] = columns[-1].nonzero()[:, 0]
    return AlignedTokenSet(own[leader][rows[leader]], seq_len, own, rows, notes=tally.meta())


def _make_start(tokenizer: Tokenizer) -> list[Token]:
    """Return the tokens with which a piece begins: BOS, if the tokenizer has one."""
    return [(token, Kind.SPECIAL) for token in get_bos(tokenizer)]


class AlignedToken(NamedTuple):
    """One token of one model, as a column of a sequence."""

    id: int
    position: int
    document: int
    kind: int
    is_paired: int


class AlignedPacker:
    """Fills sequences of several models with the same text.

    Args:
        starts: The tokens with which a piece begins, by model.
        seq_len: Tokens per sequence.
    """

    def __init__(self, starts: Sequence[list[Token]], seq_len: int) -> None:
        self._starts = starts
        self._seq_len = seq_len
        self._rows: list[list[AlignedToken]] = [[] for _ in starts]
        self._is_new_piece = True

    def start_piece(self) -> None:
        """Begin the next step with BOS and position 0."""
        self._is_new_piece = True

    def add(self, number: int, step: Step) -> Tensor | None:
        """Add the next step of a document, if it fits into a sequence at all.

        Args:
            number: Number of the document.
            step: The tokens of each model.

        Returns:
            The sequence before, if the step opens a new one.
        """
        finished = None
        tokens = self._add_starts(step)
        if not self._has_room(tokens):
            finished = self.finish()
            self.start_piece()
            tokens = self._add_starts(step)
            if not self._has_room(tokens):  # no pair for longer than a sequence
                return finished
        for row, new in zip(self._rows, tokens, strict=True):
            self._append(row, new, number)
        self._is_new_piece = False
        return finished

    def finish(self) -> Tensor | None:
        """Return the current sequence, [models, 5, seq_len], padded; None if it is empty."""
        if not self._rows[0]:
            return None
        padded = [self._pad(row) for row in self._rows]
        self._rows = [[] for _ in self._starts]
        return torch.tensor(padded).transpose(1, 2)

    def _add_starts(self, step: Step) -> Step:
        if not self._is_new_piece:
            return step
        return [start + tokens for start, tokens in zip(self._starts, step, strict=True)]

    def _has_room(self, step: Step) -> bool:
        sizes = zip(self._rows, step, strict=True)
        return all(len(row) + len(tokens) <= self._seq_len for row, tokens in sizes)

    def _append(self, row: list[AlignedToken], tokens: list[Token], number: int) -> None:
        first = 0 if self._is_new_piece else row[-1].position + 1
        last = len(tokens) - 1
        for i, (token, kind) in enumerate(tokens):
            row.append(AlignedToken(token, first + i, number, kind, is_paired=int(i == last)))

    def _pad(self, row: list[AlignedToken]) -> list[AlignedToken]:
        n = self._seq_len - len(row)
        return row + [AlignedToken(0, i, -1, Kind.SPECIAL, is_paired=0) for i in range(n)]


def _iter_aligned_sequences(
    documents: Iterable[Sequence[Step]], starts: Sequence[list[Token]], seq_len: int
) -> Iterator[Tensor]:
    """Yield sequences [models, 5, seq_len]; the five columns are those of AlignedToken."""
    packer = AlignedPacker(starts, seq_len)
    for number, document in enumerate(documents):
        packer.start_piece()
        for step in document:
            finished = packer.add(number, step)
            if finished is not None:
                yield finished
    finished = packer.finish()
    if finished is not None:
        yield finished
