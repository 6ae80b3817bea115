"""Text to tokens: documents of several corpora, mixed by share, packed into sequences of one length without padding.

A document that does not fit into what is left of a sequence goes on in the next one, there with a BOS of its own. Positions
restart with every piece, and the models' attention respects that, so a piece's activations do not depend on what it was
packed with.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from crosscoder.data.store import Store
from crosscoder.data.text import Corpus, Part, part_of
from crosscoder.errors import NotApplicable, UserError
from crosscoder.lm.text import Document, Tokenizer, tokenize
from crosscoder.types import Tokens

T = TypeVar("T")


@dataclass(frozen=True)
class TokenSet:
    """Tokens of whole sequences: row i is position i % seq_len of sequence i // seq_len."""

    tokens: Tokens
    seq_len: int

    @property
    def n_sequences(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def starts(self) -> Tensor:
        """The first row of each sequence, and how many rows there are in all."""
        return torch.arange(0, len(self.tokens) + 1, self.seq_len)

    @cached_property
    def sha256(self) -> str:
        """Hash of ids and positions, i.e. of everything the models see."""
        digest = hashlib.sha256(f"{self.seq_len};".encode())
        for column in (self.tokens.ids, self.tokens.position):
            digest.update(column.to(torch.int32).numpy().tobytes())
        return digest.hexdigest()

    @property
    def meta(self) -> dict[str, Any]:
        """What a store says of them beside that hash."""
        return {}

    def sequences(self, start: int, stop: int) -> Tokens:
        """Rows of the sequences [start, stop)."""
        return self.tokens[int(self.starts[start]) : int(self.starts[stop])]

    def of(self, lm: str, start: int, stop: int) -> tuple[Tokens, Tensor | slice]:
        """What a language model is run on for these sequences, [(stop - start) * seq_len], and where in it their rows are."""
        return self.sequences(start, stop), slice(None)


def token_set(store: Store) -> TokenSet:
    """The tokens a store was harvested from.

    Raises:
        NotApplicable: it holds pairs of several tokenizers' tokens, which no model could be run on.
    """
    if store.meta.get("aligned"):
        raise NotApplicable("this needs one tokenizer for all models, but those the store was read from have their own")
    return TokenSet(Tokens.cat([store.tokens(shard) for shard in store]), store.seq_len)


def head(store: Store, n_tokens: int) -> TokenSet:
    """The first sequences of a store."""
    tokens = token_set(store)
    n = min(max(1, n_tokens // tokens.seq_len), tokens.n_sequences)
    return TokenSet(tokens.sequences(0, n), tokens.seq_len)


def pack(
    tokenizer: Tokenizer,
    corpora: Sequence[Corpus],
    shares: Sequence[float],
    part: Part,
    n_tokens: int,
    seq_len: int,
) -> TokenSet:
    """At least `n_tokens` tokens, in whole sequences of `seq_len`; errors as in `packed`."""
    return TokenSet(Tokens.cat(list(packed(tokenizer, corpora, shares, part, n_tokens, seq_len))), seq_len)


def packed(
    tokenizer: Tokenizer,
    corpora: Sequence[Corpus],
    shares: Sequence[float],
    part: Part,
    n_tokens: int,
    seq_len: int,
) -> Iterator[Tokens]:
    """Sequence after sequence [seq_len], until there are `n_tokens` tokens.

    Raises:
        UserError: the corpora have fewer tokens than that, or nothing is asked for.
    """
    check_sizes(part, n_tokens, seq_len)
    given, rows = 0, []  # of the sequence that is being filled: id, position, document, kind
    documents = mixed(
        lambda document: list(zip(*tokenize(tokenizer, document), strict=True)), corpora, shares, part, n_tokens
    )
    for number, tokens in enumerate(documents):
        bos = tokens[:1] if tokens[0][0] == tokenizer.bos_token_id else []  # not all tokenizers have one
        start = len(bos)
        while start < len(tokens):
            piece = seq_len - len(rows) - len(bos)
            body = tokens[start : start + piece]
            rows += [(token, position, number, kind) for position, (token, kind) in enumerate([*bos, *body])]
            start += piece
            if len(rows) == seq_len:
                yield Tokens(*torch.tensor(rows).T.contiguous())
                given, rows = given + seq_len, []
                if given >= n_tokens:
                    return
    raise lacking(part, given + len(rows), n_tokens)


def check_sizes(part: Part, n_tokens: int, seq_len: int) -> None:
    """Refuse to pack nothing."""
    if n_tokens < 1 or seq_len < 2:
        raise UserError(f"{part} needs at least 1 token in sequences of at least 2, not {n_tokens} in {seq_len}")


def lacking(part: Part, n: int, n_tokens: int, kind: str = "") -> UserError:
    """Why there are fewer tokens (of that kind) than were asked for."""
    return UserError(
        f"data has only {n:,} {kind}{part} tokens, {n_tokens:,} were asked for; "
        "lower n_tokens, n_validation or n_heldout, or add data"
    )


def mixed(
    cut: Callable[[Document], list[T]], corpora: Sequence[Corpus], shares: Sequence[float], part: Part, n_tokens: int
) -> Iterator[list[T]]:
    """Documents cut into tokens, always of the corpus furthest behind its share; ends when that one is exhausted."""
    streams = [part_of(corpus, part) for corpus in corpora]
    taken = [0] * len(corpora)
    while True:
        behind = min(range(len(corpora)), key=lambda i: taken[i] / shares[i])
        document = next(streams[behind], None)
        if document is None:
            return
        # a single document fills at most an eighth of its corpus's share, so that no share is a handful of documents
        tokens = cut(document)
        limit = max(256, int(n_tokens * shares[behind] / 8))
        if len(tokens) > 1:
            yield tokens[:limit]
            taken[behind] += min(len(tokens), limit)
