"""Text to tokens for models with different tokenizers: sequences in step, which hold the same text for every model.

    words   Line 3 | 3 times 4 … | pad              a piece ends with a pair of tokens (crosscoder/lm/align.py), and a
    bytes   BOS L i n e _ 3 | BOS 3 _ t i m … | pad   sequence where one of the models has no room for the next

Every piece begins with the model's own BOS, if it has one. Padding stands at the end, where no other token sees it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from crosscoder.data.text import Corpus, Part
from crosscoder.data.tokens import TokenSet, check_sizes, lacking, mixed
from crosscoder.lm.align import Token, keyed, steps
from crosscoder.lm.text import Document, Tokenizer, bos
from crosscoder.types import Kind, Tokens


@dataclass(frozen=True)
class Aligned(TokenSet):
    """Pairs of tokens; `tokens` are those of one model.

    Args:
        own: by model, what it is run on: whole sequences.
        rows: by model, which of these tokens are paired.
    """

    own: Mapping[str, Tokens]
    rows: Mapping[str, Tensor]

    @cached_property
    def starts(self) -> Tensor:
        lm = next(iter(self.own))
        return torch.searchsorted(self.rows[lm], torch.arange(0, len(self.own[lm]) + 1, self.seq_len))

    @cached_property
    def sha256(self) -> str:
        """Hash of everything the models see, and of which tokens are paired."""
        digest = hashlib.sha256(f"{self.seq_len};".encode())
        for lm, own in self.own.items():
            for column in (own.ids, own.position, self.rows[lm]):
                digest.update(column.to(torch.int32).numpy().tobytes())
        return digest.hexdigest()

    @property
    def meta(self) -> dict[str, Any]:
        """That they are aligned, and which share of each model's text is paired."""
        texts = {
            lm: int(torch.isin(own.kind, torch.tensor([Kind.PLAIN, Kind.CHAT])).sum()) for lm, own in self.own.items()
        }
        return {"aligned": "spans", "kept": {lm: len(self.tokens) / n for lm, n in texts.items()}}

    def of(self, lm: str, start: int, stop: int) -> tuple[Tokens, Tensor | slice]:
        first = start * self.seq_len
        rows = self.rows[lm][int(self.starts[start]) : int(self.starts[stop])]
        return self.own[lm][first : stop * self.seq_len], rows - first


def pack_aligned(
    tokenizers: Mapping[str, Tokenizer],
    leader: str,
    corpora: Sequence[Corpus],
    shares: Sequence[float],
    part: Part,
    n_tokens: int,
    seq_len: int,
) -> Aligned:
    """At least `n_tokens` pairs of tokens, in whole sequences of `seq_len`; `leader` is the model whose tokens stand for them.

    Raises:
        UserError: the corpora have fewer pairs than that, or nothing is asked for.
    """
    check_sizes(part, n_tokens, seq_len)
    begin = [[(token, Kind.SPECIAL) for token in bos(tokenizer)] for tokenizer in tokenizers.values()]

    def cut(document: Document) -> list[list[list[Token]]]:
        texts = [keyed(tokenizer, document) for tokenizer in tokenizers.values()]
        return steps(texts, [len(first) for first in begin])

    found, n = [], 0
    for sequence in _sequences(mixed(cut, corpora, shares, part, n_tokens), begin, seq_len):
        found.append(sequence)
        n += int(sequence[0, -1].sum())
        if n >= n_tokens:
            break
    else:
        raise lacking(part, n, n_tokens, "paired ")
    columns = dict(zip(tokenizers, torch.cat(found, dim=-1), strict=True))
    own = {lm: Tokens(*column[:-1]) for lm, column in columns.items()}
    rows = {lm: column[-1].nonzero()[:, 0] for lm, column in columns.items()}
    return Aligned(own[leader][rows[leader]], seq_len, own, rows)


def _sequences(
    documents: Iterable[list[list[list[Token]]]], begin: Sequence[list[Token]], seq_len: int
) -> Iterator[Tensor]:
    """Sequence after sequence, [models, 5, seq_len]: id, position, document, kind, whether it is paired."""
    rows: list[list[tuple[int, ...]]] = [[] for _ in begin]  # of the sequence that is being filled
    for number, document in enumerate(documents):
        begins = True  # a piece, with the next step
        for step in document:
            opened = [[*first, *tokens] for first, tokens in zip(begin, step, strict=True)]
            if not _fits(rows, opened if begins else step, seq_len):
                if rows[0]:
                    yield _padded(rows, seq_len)
                    rows = [[] for _ in begin]
                begins = True
                if not _fits(rows, opened, seq_len):
                    continue  # what has no pair for longer than a sequence is left out
            for row, tokens in zip(rows, opened if begins else step, strict=True):
                start, last = 0 if begins else row[-1][1] + 1, len(tokens) - 1
                row += [(token, start + i, number, kind, int(i == last)) for i, (token, kind) in enumerate(tokens)]
            begins = False
    if rows[0]:
        yield _padded(rows, seq_len)


def _fits(rows: Sequence[list], step: Sequence[list], seq_len: int) -> bool:
    return all(len(row) + len(tokens) <= seq_len for row, tokens in zip(rows, step, strict=True))


def _padded(rows: Sequence[list[tuple[int, ...]]], seq_len: int) -> Tensor:
    whole = [row + [(0, i, -1, Kind.SPECIAL, 0) for i in range(seq_len - len(row))] for row in rows]
    return torch.tensor(whole).transpose(1, 2)
