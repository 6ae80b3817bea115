"""Text to tokens: documents of several corpora, packed into sequences without padding.

A document that does not fit into the rest of a sequence continues in the next one, where it begins
with BOS again. Positions restart with every piece, and the models' attention respects that, so the
activations of a piece do not depend on the documents it was packed with.

Rows without a document are left out and counted (crosscoder/data/corpora/tally.py). A chat that the
chat template refuses is changed so that it fits (crosscoder/lm/chat/merging.py), or else left out;
both are counted.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch

from crosscoder.core.types import Tokens
from crosscoder.data.corpora.corpus import Corpus, Split
from crosscoder.data.corpora.mixing import mix_documents
from crosscoder.data.corpora.tally import Tally
from crosscoder.data.shortage import make_shortage_error, require_token_counts
from crosscoder.data.tokens import TokenSet
from crosscoder.lm.chat.document import Document
from crosscoder.lm.text import Tokenizer, tokenize


def pack_documents(
    tokenizer: Tokenizer,
    corpora: Sequence[Corpus],
    shares: Sequence[float],
    split: Split,
    n_tokens: int,
    seq_len: int,
    max_unusable: float = 0.1,
    takes_less: bool = False,
    require: Callable[[Sequence[int]], None] | None = None,
) -> TokenSet:
    """Pack at least `n_tokens` tokens into whole sequences.

    Args:
        tokenizer: The tokenizer.
        corpora: The corpora.
        shares: Share of the tokens that each corpus gets.
        split: The split that is read.
        n_tokens: Number of tokens.
        seq_len: Tokens per sequence.
        max_unusable: The largest fraction of rows that may be left out.
        takes_less: Whether fewer tokens are accepted, as in `iter_sequences`.
        require: Function that raises Unusable for ids that a model cannot read.

    Raises:
        UserError: As `iter_sequences` does.
    """
    tally = Tally(split, max_unusable)
    sequences = list(
        iter_sequences(
            tokenizer, corpora, shares, split, n_tokens, seq_len, tally, takes_less, require
        )
    )
    return TokenSet(Tokens.cat(sequences), seq_len, notes=tally.meta())


def iter_sequences(
    tokenizer: Tokenizer,
    corpora: Sequence[Corpus],
    shares: Sequence[float],
    split: Split,
    n_tokens: int,
    seq_len: int,
    tally: Tally | None = None,
    takes_less: bool = False,
    require: Callable[[Sequence[int]], None] | None = None,
) -> Iterator[Tokens]:
    """Yield sequences [seq_len] until there are `n_tokens` tokens.

    Args:
        tokenizer: The tokenizer.
        corpora: The corpora.
        shares: Share of the tokens that each corpus gets.
        split: The split that is read.
        n_tokens: Number of tokens.
        seq_len: Tokens per sequence.
        tally: Counts of the rows that are left out.
        takes_less: Whether data that end before `n_tokens` are accepted, if they fill at least one
            sequence.
        require: Function that raises Unusable for ids that a model cannot read.

    Raises:
        UserError: The corpora have too few tokens, too many rows are unusable, or no token is asked
            for.
    """
    require_token_counts(split, n_tokens, seq_len)
    tally = tally or Tally(split)

    def cut(document: Document) -> list[tuple[int, int]]:
        ids, kinds = tokenize(tokenizer, document)
        if require:
            require(ids)
        tally.note_date(tokenizer, document)
        return list(zip(ids, kinds, strict=True))

    bos = cast(int | None, tokenizer.bos_token_id)
    packer = SequencePacker(bos, seq_len)
    n_yielded = 0
    try:
        documents = mix_documents(cut, corpora, shares, split, n_tokens, tally)
        for number, tokens in enumerate(documents):
            for sequence in packer.add(number, tokens):
                yield sequence
                n_yielded += seq_len
                if n_yielded >= n_tokens:
                    tally.end()
                    return
    except GeneratorExit:  # the caller needs no more sequences
        tally.report()
        raise
    tally.end()
    if not n_yielded or not takes_less:
        n_found = n_yielded + packer.n_pending
        raise make_shortage_error(split, n_found, n_tokens, seq_len, tally=tally)


class SequencePacker:
    """Cuts documents into pieces that fill sequences one after the other.

    Args:
        bos: Id of BOS, with which every piece begins; None for a tokenizer without BOS.
        seq_len: Tokens per sequence.
    """

    def __init__(self, bos: int | None, seq_len: int) -> None:
        self._bos = bos
        self._seq_len = seq_len
        self._rows: list[tuple[int, int, int, int]] = []  # id, position, document, kind

    @property
    def n_pending(self) -> int:
        """Number of tokens in the sequence that is not yet full."""
        return len(self._rows)

    def add(self, number: int, tokens: list[tuple[int, int]]) -> Iterator[Tokens]:
        """Add a document; yield each sequence that it fills.

        Args:
            number: Number of the document.
            tokens: Id and kind of its tokens.
        """
        bos = tokens[:1] if tokens[0][0] == self._bos else []
        start = len(bos)
        while start < len(tokens):
            size = self._seq_len - len(self._rows) - len(bos)
            piece = bos + tokens[start : start + size]
            for position, (token, kind) in enumerate(piece):
                self._rows.append((token, position, number, kind))
            start += size
            if len(self._rows) == self._seq_len:
                yield Tokens(*torch.tensor(self._rows).T.contiguous())
                self._rows = []
