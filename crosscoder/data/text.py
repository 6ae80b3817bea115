"""Corpora: where documents come from. A document is plain text or a chat (a list of role/content messages).

A corpus has `name` and `documents(split)`, an iterator of documents in a fixed order; what is held out never shows up in
train. Python's own documentation is real prose and code that every machine has; hub data sets stream; files are local.
"""

import ast
import random
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from crosscoder.errors import UserError, first_line
from crosscoder.hub import may_pass, patiently
from crosscoder.jsonl import json_lines
from crosscoder.lm.text import Document

Split = Literal["train", "heldout"]
Part = Literal["train", "validation", "heldout"]
VALIDATION_EVERY = 4


@runtime_checkable
class Corpus(Protocol):
    """See the module's docstring."""

    @property
    def name(self) -> str:
        """A word for tables and progress."""
        ...

    def documents(self, split: Split) -> Iterator[Document]:
        """The documents of one split, in a fixed order."""
        ...


def part_of(corpus: Corpus, part: Part) -> Iterator[Document]:
    """Documents to train on; of the others each fourth for validation, and three of four for the figures."""
    if part == "train":
        return corpus.documents("train")
    others = enumerate(corpus.documents("heldout"))
    return (document for i, document in others if (i % VALIDATION_EVERY == 0) == (part == "validation"))


def every(documents: Iterable[Document], heldout_every: int, split: Split) -> Iterator[Document]:
    """Each `heldout_every`-th document is held out, the others are for training."""
    for number, document in enumerate(documents):
        if (number % heldout_every == 0) == (split == "heldout"):
            yield document


@dataclass(frozen=True)
class PythonDocs:
    """The language reference (`pydoc_data.topics`) and the standard library's docstrings, shuffled by `seed`.

    The text differs between Python versions; the hash of the tokens tells.
    """

    heldout_every: int = 8
    min_chars: int = 200
    seed: int = 0
    name: str = "python_docs"

    def documents(self, split: Split) -> Iterator[Document]:
        """Language topics and module docstrings, whole."""
        from pydoc_data.topics import topics

        documents = [text for _, text in sorted(topics.items())] + list(
            _library_docs(Path(sysconfig.get_paths()["stdlib"]))
        )
        documents = [text for text in documents if len(text) >= self.min_chars]
        random.Random(self.seed).shuffle(documents)
        return every(documents, self.heldout_every, split)


@lru_cache(maxsize=1)  # every part of the data asks for them, and parsing takes seconds
def _library_docs(library: Path) -> tuple[str, ...]:
    """Of every standard-library module, its docstrings one after the other. Files are parsed, never imported."""
    modules = []
    for file in sorted(library.rglob("*.py")):
        if {"site-packages", "test", "tests", "idlelib", "lib2to3", "pydoc_data"} & set(
            file.relative_to(library).parts
        ):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docs = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)]
        if text := "\n\n".join(doc for doc in docs if doc):
            modules.append(text)
    return tuple(modules)


@dataclass(frozen=True)
class Chats:
    """Transcripts given as two iterables of `{"messages": [...]}`, shuffled by `seed`."""

    train: Iterable[dict[str, Any]]
    heldout: Iterable[dict[str, Any]]
    seed: int = 0
    name: str = "chats"

    def documents(self, split: Split) -> Iterator[Document]:
        """The transcripts' messages."""
        chats = [row["messages"] for row in (self.train if split == "train" else self.heldout)]
        random.Random(self.seed).shuffle(chats)
        return iter(chats)


@dataclass(frozen=True)
class HubDataset:
    """A Hugging Face data set by id, streamed. `column` holds text, or a chat (a list of messages).

    Args:
        id: e.g. "HuggingFaceFW/fineweb".
        column: e.g. "text", or "conversation" for LMSYS-Chat-1M.
        config: the data set's configuration, if it has several.
        hub_split: the split to stream.
        heldout_every: each so-many-th document is held out.
    """

    id: str
    column: str = "text"
    config: str | None = None
    hub_split: str = "train"
    heldout_every: int = 50

    @property
    def name(self) -> str:
        return self.id

    def documents(self, split: Split) -> Iterator[Document]:
        """The column's entries in the data set's own order."""
        return every((_entry(row, self.column, self.id) for row in self._rows()), self.heldout_every, split)

    def _rows(self) -> Iterator[dict[str, Any]]:
        from datasets import load_dataset

        stream: Iterator[dict[str, Any]] | None = None
        given = 0

        def row() -> dict[str, Any] | None:
            nonlocal stream
            if (rows := stream) is None:
                opened = load_dataset(self.id, self.config, split=self.hub_split, streaming=True)
                rows = iter(opened.skip(given) if given else opened)
            stream = None  # one that fails is lost, and opened again where it stopped
            found = next(rows, None)
            stream = rows
            return found

        try:
            while (found := patiently(row, self.id)) is not None:
                yield found
                given += 1
        except Exception as error:  # unknown id, no login, no network: all end the same way
            reason = "it is out of reach" if may_pass(error) else first_line(error)
            raise UserError(f"cannot stream '{self.id}' from the hub: {reason}") from error


@dataclass(frozen=True)
class Files:
    """Local .txt files (one document each) and .jsonl files (one document a line, in `column`)."""

    paths: Sequence[str]
    column: str = "text"
    heldout_every: int = 10
    name: str = "files"

    def documents(self, split: Split) -> Iterator[Document]:
        """Files in the order given, lines in the file's order."""
        for path in self.paths:
            if not Path(path).is_file():
                raise UserError(f"no file at {path}")
        return every(
            (document for path in self.paths for document in self._read(Path(path))), self.heldout_every, split
        )

    def _read(self, path: Path) -> Iterator[Document]:
        if path.suffix != ".jsonl":
            yield path.read_text(encoding="utf-8")
            return
        for where, row in json_lines(path):
            yield _entry(row, self.column, where)


def _entry(row: dict[str, Any], column: str, where: str) -> Document:
    """A row's text, or its messages as plain role/content dicts."""
    if column not in row:
        raise UserError(f"{where} has no column '{column}'; it has {', '.join(row)}")
    value = row[column]
    return value if isinstance(value, str) else [{"role": m["role"], "content": m["content"]} for m in value]
