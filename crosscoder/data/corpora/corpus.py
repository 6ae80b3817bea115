"""The protocol of a corpus, and its splits: training, validation and held-out documents.

A corpus has `name` and `documents(split)`, an iterator of documents in a fixed order. Held-out
documents never occur in train. A corpus whose rows may lack a document also has `rows(split)`,
which says where each row is, and why it has no document. Every `heldout_every`-th row is held out,
and all rows count, usable or not: the split of a row does not depend on the other rows, nor on the
tokenizer.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, TypeVar, runtime_checkable

from crosscoder.data.corpora.rows import Row
from crosscoder.lm.chat.document import Document, Unusable
from crosscoder.lm.chat.messages import as_document
from crosscoder.values import require_choice

CorpusSplit = Literal["train", "heldout"]
Split = Literal["train", "validation", "heldout"]
VALIDATION_EVERY = 4  # of the held-out rows
T = TypeVar("T")


@runtime_checkable
class Corpus(Protocol):
    """Source of documents; it may have a method `rows(split)`, too."""

    @property
    def name(self) -> str:
        """Name in tables and messages."""
        ...

    def documents(self, split: CorpusSplit) -> Iterator[Document]:
        """Yield the documents of one split, in a fixed order."""
        ...


def read_corpus_rows(corpus: Corpus, split: CorpusSplit) -> Iterator[Row]:
    """Yield the rows of one split of any corpus.

    For a corpus without `rows`, each document is a row. What is not a document is a row with the
    reason.
    """
    rows: Callable[[CorpusSplit], Iterator[Row]] | None = getattr(corpus, "rows", None)
    if rows is not None:
        yield from rows(split)
        return
    for number, document in enumerate(corpus.documents(split), 1):
        where = f"{corpus.name}, {split} document {number}"
        try:
            yield Row(where, as_document(document))
        except Unusable as error:
            yield Row(where, reason=str(error))


def read_split(corpus: Corpus, split: Split) -> Iterator[Row]:
    """Yield the rows of one split.

    Of the held-out rows, every fourth is for validation and the others are for the figures.
    """
    require_choice("split", split, ("train", "validation", "heldout"))
    if split == "train":
        yield from read_corpus_rows(corpus, "train")
        return
    for number, row in enumerate(read_corpus_rows(corpus, "heldout")):
        is_validation = number % VALIDATION_EVERY == 0
        if is_validation == (split == "validation"):
            yield row


def take_split(items: Iterable[T], heldout_every: int, split: CorpusSplit) -> Iterator[T]:
    """Yield the items of one split; every `heldout_every`-th item is held out."""
    require_choice("split", split, ("train", "heldout"))
    for number, item in enumerate(items):
        is_heldout = number % heldout_every == 0
        if is_heldout == (split == "heldout"):
            yield item


def take_documents(rows: Iterable[Row]) -> Iterator[Document]:
    """Yield the documents of the rows that have one."""
    for row in rows:
        if row.document is not None:
            yield row.document
