"""Corpora: sources of documents.

A document is plain text or a chat (a list of messages with role and content).
Python's own documentation is real prose and code that every machine has. Data sets from the hub are
streamed, and files are local. crosscoder/data/corpora/corpus.py has the protocol of a corpus.
"""

import random
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from crosscoder.data.corpora.corpus import Corpus, CorpusSplit, Split, take_documents, take_split
from crosscoder.data.corpora.json_files import read_json_rows
from crosscoder.data.corpora.library_docs import read_library_docs
from crosscoder.data.corpora.opening import get_kind
from crosscoder.data.corpora.paths import find_files, list_paths, require_kinds
from crosscoder.data.corpora.prose import read_prose
from crosscoder.data.corpora.rows import Row, take_column
from crosscoder.data.corpora.tables import DELIMITERS, read_csv, read_parquet
from crosscoder.errors import UserError
from crosscoder.io.hub import explain, retry
from crosscoder.lm.chat.document import Document
from crosscoder.values import require_types, require_whole

__all__ = ["Chats", "Corpus", "Files", "HubDataset", "PythonDocs", "Split"]


@dataclass(frozen=True)
class PythonDocs:
    """The language reference (`pydoc_data.topics`) and the docstrings of the standard library.

    The text differs between versions of Python; the hash of the tokens shows it.

    Args:
        heldout_every: Every document of this number is held out.
        min_chars: Characters of the shortest document.
        seed: Random seed of the order.
        name: Name in tables and messages.
    """

    heldout_every: int = 8
    min_chars: int = 200
    seed: int = 0
    name: str = "python_docs"

    def __post_init__(self) -> None:
        require_whole("heldout_every", self.heldout_every, least=2)
        require_types("data.corpora", self)

    def documents(self, split: CorpusSplit) -> Iterator[Document]:
        """Yield language topics and the docstrings of modules, each whole."""
        from pydoc_data.topics import topics

        documents = [text for _, text in sorted(topics.items())]
        documents += read_library_docs(Path(sysconfig.get_paths()["stdlib"]))
        documents = [text for text in documents if len(text) >= self.min_chars]
        if not documents:
            raise UserError(
                f"{self.name} has no document of at least min_chars={self.min_chars:,} characters: "
                "lower it"
            )
        random.Random(self.seed).shuffle(documents)
        return take_split(documents, self.heldout_every, split)


@dataclass(frozen=True)
class Chats:
    """Transcripts in two iterables of `{"messages": [...]}`, shuffled.

    Args:
        train: Transcripts for training.
        heldout: Held-out transcripts.
        seed: Random seed of the order.
        name: Name in tables and messages.
    """

    train: Iterable[dict[str, Any]]
    heldout: Iterable[dict[str, Any]]
    seed: int = 0
    name: str = "chats"

    def __post_init__(self) -> None:
        require_types("data.corpora", self)

    def documents(self, split: CorpusSplit) -> Iterator[Document]:
        """Yield the messages of the transcripts."""
        return take_documents(self.rows(split))

    def rows(self, split: CorpusSplit) -> Iterator[Row]:
        """Yield the transcripts, numbered by their place in the iterable."""
        chats = self.train if split == "train" else self.heldout
        source = f"{self.name}, {split}"
        numbered = ((f"{source} row {number}", chat, "") for number, chat in enumerate(chats, 1))
        rows = list(take_column(numbered, "messages", source))
        random.Random(self.seed).shuffle(rows)
        return iter(rows)


@dataclass(frozen=True)
class HubDataset:
    """A data set from the Hugging Face hub, streamed.

    Args:
        id: Id of the data set, e.g. "HuggingFaceFW/fineweb".
        column: Column that holds text, e.g. "text", or a chat (a list of messages), e.g.
            "conversation" for LMSYS-Chat-1M.
        config: Configuration of the data set, if it has several.
        hub_split: Split of the data set.
        heldout_every: Every document of this number is held out.
    """

    id: str
    column: str = "text"
    config: str | None = None
    hub_split: str = "train"
    heldout_every: int = 50

    def __post_init__(self) -> None:
        require_whole("heldout_every", self.heldout_every, least=2)

    @property
    def name(self) -> str:
        return self.id

    def documents(self, split: CorpusSplit) -> Iterator[Document]:
        """Yield the column's entries in the data set's own order."""
        return take_documents(self.rows(split))

    def rows(self, split: CorpusSplit) -> Iterator[Row]:
        """Yield the rows in the data set's own order."""
        rows = enumerate(self._stream_rows(), 1)
        numbered = ((f"{self.id}, row {number}", row, "") for number, row in rows)
        return take_split(take_column(numbered, self.column, self.id), self.heldout_every, split)

    def _stream_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows; a stream that fails is opened again where it stopped."""
        stream: Iterator[dict[str, Any]] | None = None
        n_yielded = 0

        def read_row() -> dict[str, Any] | None:
            nonlocal stream
            rows = stream if stream is not None else self._open_stream(n_yielded)
            stream = None  # a stream that fails cannot be read further
            row = next(rows, None)
            stream = rows
            return row

        try:
            while (row := retry(read_row, self.id)) is not None:
                yield row
                n_yielded += 1
        except Exception as error:  # unknown id, no login, no network: all end the same way
            raise UserError(f"cannot stream '{self.id}' from the hub: {explain(error)}") from error

    def _open_stream(self, n_skipped: int) -> Iterator[dict[str, Any]]:
        from datasets import load_dataset

        dataset = load_dataset(self.id, self.config, split=self.hub_split, streaming=True)
        return iter(dataset.skip(n_skipped) if n_skipped else dataset)


@dataclass(frozen=True)
class Files:
    """Local files: texts (.txt, .md, .rst) or rows (.jsonl, .json, .csv, .tsv, .parquet).

    A text of more than a million characters is read in pieces (crosscoder/data/corpora/prose.py).
    If all files are texts, and there are too few of them for every split to get one, all of them
    are read in pieces.

    Args:
        paths: Files, folders and patterns such as `data/*.jsonl`; a single one needs no list. A
            folder stands for its files.
        column: Column of rows that holds text, or a chat (a list of messages).
        heldout_every: Every document of this number is held out.
        name: Name in tables and messages.
    """

    paths: str | Path | Sequence[str | Path]
    column: str = "text"
    heldout_every: int = 10
    name: str = "files"

    def __post_init__(self) -> None:
        require_whole("heldout_every", self.heldout_every, least=2)
        require_kinds(list_paths(self.paths))

    def documents(self, split: CorpusSplit) -> Iterator[Document]:
        """Yield the documents, in the order of the files and of the rows in them."""
        return take_documents(self.rows(split))

    def rows(self, split: CorpusSplit) -> Iterator[Row]:
        """Yield the rows, in the order of the files and of the rows in them."""
        files = self.files()
        are_texts = all(get_kind(path) == ".txt" for path in files)
        # of so few documents only the first would be held out, and none would be left for figures
        in_pieces = are_texts and len(files) <= self.heldout_every
        rows = (self._read(path, in_pieces) for path in files)
        return take_split(chain.from_iterable(rows), self.heldout_every, split)

    def files(self) -> list[Path]:
        """Return the files that the paths name."""
        return find_files(list_paths(self.paths))

    def _read(self, path: Path, in_pieces: bool) -> Iterator[Row]:
        kind = get_kind(path)
        if kind == ".txt":
            return read_prose(path, in_pieces)
        if kind == ".parquet":
            rows = read_parquet(path, self.column)
        elif kind in DELIMITERS:
            rows = read_csv(path, self.column, DELIMITERS[kind])
        else:
            rows = read_json_rows(path, self.column)
        return take_column(rows, self.column, str(path))
