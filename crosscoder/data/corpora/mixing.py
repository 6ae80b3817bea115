"""Documents of several corpora, mixed by share and cut into tokens."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from crosscoder.data.corpora.corpus import Corpus, Split, read_split
from crosscoder.data.corpora.tally import Tally
from crosscoder.lm.chat.document import Document, Refused, Unusable
from crosscoder.lm.chat.merging import suggest_chats

T = TypeVar("T")
MIN_LIMIT = 256  # tokens that any document may have
PIECES_PER_SHARE = 8  # a document fills at most this fraction of its corpus's share


def mix_documents(
    cut: Callable[[Document], list[T]],
    corpora: Sequence[Corpus],
    shares: Sequence[float],
    split: Split,
    n_tokens: int,
    tally: Tally,
) -> Iterator[list[T]]:
    """Yield the tokens of documents, always from the corpus that is furthest behind its share.

    It ends when that corpus is exhausted. A single document fills at most an eighth of its corpus's
    share, so that no share consists of a handful of documents.

    Args:
        cut: Function that returns the tokens of a document.
        corpora: The corpora.
        shares: Share of the tokens that each corpus gets.
        split: The split that is read.
        n_tokens: Number of tokens asked for.
        tally: Counts of the rows that are left out.
    """
    streams = [read_split(corpus, split) for corpus in corpora]
    n_taken = [0] * len(corpora)
    while True:
        i = min(range(len(corpora)), key=lambda number: n_taken[number] / shares[number])
        row = next(streams[i], None)
        if row is None:
            return
        tally.n_read += 1
        if row.document is None:
            tally.leave_out(row.where, row.reason)
            continue
        limit = max(MIN_LIMIT, int(n_tokens * shares[i] / PIECES_PER_SHARE))
        try:
            tokens = _cut_or_merge(cut, _cut_text(row.document, limit), tally)
        except Unusable as error:
            tally.leave_out(row.where, str(error))
            continue
        if len(tokens) <= 1:
            tally.n_empty += 1
            continue
        if len(tokens) > limit:
            tally.n_cut += 1
        yield tokens[:limit]
        n_taken[i] += min(len(tokens), limit)


def _cut_text(document: Document, limit: int) -> Document:
    """Drop the text far beyond `limit` tokens, which would take long to tokenise."""
    if not isinstance(document, str):
        return document
    return document[: max(100_000, 100 * limit)]  # no text has 100 characters a token


def _cut_or_merge(cut: Callable[[Document], list[T]], document: Document, tally: Tally) -> list[T]:
    """Cut a document into tokens; change a chat that the chat template refuses.

    crosscoder/lm/chat/merging.py says how chats are changed.

    Raises:
        Unusable: No change helps; with the reason for which the original chat was refused.
    """
    try:
        return cut(document)
    except Refused as refusal:
        for chat in suggest_chats(document):
            try:
                tokens = cut(chat)
            except Unusable:
                continue
            tally.n_merged += 1
            return tokens
        raise refusal
