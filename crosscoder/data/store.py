"""The activation store: a folder that anything can write and anything can read.

    NNNNN.<source>.safetensors   {acts [n, d_source]}, or in one byte per number what crosscoder/data/compact.py says
    NNNNN.tokens.safetensors     {ids, position, document, kind}, each [n]
    meta.json                    sources and widths, dtype, counts, seq_len, per-source scale, what made it, checksums

Shards are complete or absent: each is written aside, renamed, and only then entered in meta.json with its checksum. Any
number of processes may write one store at once: who works on a shard claims it by a lock, which the system takes back from a
process that dies, and meta.json is read anew before anything is entered.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from crosscoder.data.compact import restored
from crosscoder.errors import UserError, first_line, writing
from crosscoder.lm.pinned import sha256
from crosscoder.runs import write_json
from crosscoder.sources import Source, Sources
from crosscoder.types import Tokens

FORMAT = 1


class Store:
    """A store on disk. Reading checks every shard's checksum the first time it is read."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.meta: dict[str, Any] = {}
        self.refresh()
        self.lock = FileLock(self.folder / ".lock")
        self._checked: set[str] = set()

    def refresh(self) -> None:
        """Read meta.json, to which other processes may have added."""
        try:
            self.meta = json.loads((self.folder / "meta.json").read_text())
            if self.meta["format"] != FORMAT:
                raise UserError(f"store {self.folder} has format {self.meta['format']!r}; this version reads {FORMAT}")
            self._require_sense()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"no activation store at {self.folder}: {first_line(error)}") from error

    def _require_sense(self) -> None:
        """Refuse a meta.json that is none; it may come from anywhere."""
        counts, columns = self.meta["counts"], [*self.meta["sources"], "tokens"]
        if not counts or any(not isinstance(n, int) or n < 1 for n in (*counts, self.meta["seq_len"])):
            raise ValueError("counts and seq_len are whole numbers from 1")
        if any(not isinstance(s.width, int) or s.width < 1 for s in self.sources):
            raise ValueError("widths are whole numbers from 1")
        if not isinstance(getattr(torch, self.meta["dtype"]), torch.dtype):
            raise ValueError(f"there is no dtype {self.meta['dtype']!r}")
        if any(len(self._checksums(column)) != len(counts) for column in columns):
            raise ValueError("there are not as many checksums as shards")

    # --- reading ---

    @property
    def sources(self) -> Sources:
        """The streams this store holds."""
        items = [
            Source(name, entry["width"], entry["lm"], entry["hookpoint"])
            for name, entry in self.meta["sources"].items()
        ]
        contrast = self.meta.get("contrast")
        return Sources(tuple(items), tuple(contrast) if contrast else None)

    @property
    def counts(self) -> list[int]:
        """Rows of each shard."""
        return self.meta["counts"]

    @property
    def seq_len(self) -> int:
        return self.meta["seq_len"]

    @property
    def tokens_sha256(self) -> str:
        return self.meta["tokens_sha256"]

    def __len__(self) -> int:
        return sum(self.counts)

    def require(self, sources: Sources) -> None:
        """Refuse a crosscoder whose sources this store does not hold."""
        here = self.sources
        held = {name: here[name] for name in sources.names if name in here.names or here.minus(name)}
        if any(source.name not in held or held[source.name].width != source.width for source in sources):
            raise UserError(
                f"store has sources {self.sources.describe()}, but the crosscoder expects {sources.describe()}"
            )
        for source in sources:  # a store or a crosscoder from elsewhere may not say where it was read
            there = held[source.name].hookpoint
            if there and source.hookpoint and there != source.hookpoint:
                raise UserError(
                    f"store has {source.name} at {there}, but the crosscoder expects it at {source.hookpoint}"
                )

    def tokens(self, shard: int) -> Tokens:
        """The tokens of one shard."""
        return Tokens(**self._load(shard, "tokens"))

    def acts(self, shard: int, names: Sequence[str], rows: Tensor | None = None) -> Tensor:
        """Activations of one shard [n, d_total], or of these rows of it, the named sources side by side, in the models' dtype."""
        dtype = getattr(torch, self.meta["dtype"])
        streams = (self.sources.stream(n, lambda name: restored(self._load(shard, name), dtype, rows)) for n in names)
        return torch.cat(list(streams), dim=-1)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.counts)))

    def _load(self, shard: int, column: str) -> dict[str, Tensor]:
        path = self.folder / shard_name(shard, column)
        expected = self._checksums(column)
        if shard >= len(expected) or expected[shard] is None:
            raise UserError(f"store {self.folder} is not complete: {path.name} has not been harvested")
        if not path.exists():
            raise UserError(f"store {self.folder} lacks {path.name}")
        if path.name not in self._checked:
            if sha256(path) != expected[shard]:
                raise UserError(
                    f"{path} is damaged: its checksum is not the one in meta.json; delete it to harvest it again"
                )
            self._checked.add(path.name)
        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path} cannot be read: {error}") from error

    def _checksums(self, column: str) -> list[str | None]:
        entry = self.meta if column == "tokens" else self.meta["sources"][column]
        return entry["tokens_checksums"] if column == "tokens" else entry["checksums"]

    # --- writing ---

    @classmethod
    def create(cls, folder: Path, meta: dict[str, Any]) -> "Store":
        """Open the store in `folder`, or begin it with this meta (without checksums, which appear as shards do)."""
        file, none = folder / "meta.json", [None] * len(meta["counts"])
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            entries = {name: {**entry, "checksums": none} for name, entry in meta["sources"].items()}
            with FileLock(folder / ".lock"):
                if not file.exists():
                    write_json(file, {"format": FORMAT, **meta, "sources": entries, "tokens_checksums": none})
        return cls(folder)

    @contextmanager
    def claimed(self, shard: int, what: str) -> Iterator[bool]:
        """While open, whether this process is the one to work on that; another is, otherwise, or was and is done."""
        claim = FileLock(self.folder / f".{shard:05d}.{what}.lock")
        try:
            claim.acquire(blocking=False)
        except Timeout:
            yield False
            return
        try:
            self.refresh()
            yield True
        finally:
            Path(claim.lock_file).unlink(missing_ok=True)  # whoever makes it anew finds the shard entered
            claim.release()

    def has(self, shard: int, column: str) -> bool:
        """Whether a shard is entered in meta.json and there."""
        return self._checksums(column)[shard] is not None and (self.folder / shard_name(shard, column)).exists()

    def missing(self, shard: int, lm: str) -> list[Source]:
        """The sources of a language model of which this shard has yet to be harvested."""
        return [source for source in self.sources if source.lm == lm and not self.has(shard, source.name)]

    def complete(self, column: str) -> bool:
        """Whether all shards of a source (or "tokens") are there."""
        return all(self.has(shard, column) for shard in self)

    def write(self, shard: int, column: str, tensors: dict[str, Tensor]) -> None:
        """Add one shard of a source (or of "tokens")."""
        path = self.folder / shard_name(shard, column)
        aside = path.with_suffix(f".{socket.gethostname()}-{os.getpid()}.tmp")
        try:
            with writing(path):
                save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside)
            self._enter(shard, column, aside)
        finally:
            for rest in (aside, *self.folder.glob(f"{shard:05d}.{column}.*.tmp")):  # also of a process that was killed
                rest.unlink(missing_ok=True)

    def adopt(self, column: str, other: "Store", name: str) -> None:
        """Take over a source that another store already holds: hard links where possible, copies otherwise."""
        for shard in self:
            if self.has(shard, column) or not other.has(shard, name):
                continue
            aside = self.folder / f"{shard_name(shard, column)}.{os.getpid()}.tmp"
            aside.unlink(missing_ok=True)
            try:
                os.link(other.folder / shard_name(shard, name), aside)
            except OSError:
                shutil.copyfile(other.folder / shard_name(shard, name), aside)
            if (checksum := other._checksums(name)[shard]) == sha256(aside):
                self._enter(shard, column, aside, checksum)
            else:
                aside.unlink()  # damaged over there

    def note(self, **entries: Any) -> None:
        """Add entries to meta.json."""
        with self.lock:
            self.refresh()
            self.meta |= entries
            write_json(self.folder / "meta.json", self.meta)

    def _enter(self, shard: int, column: str, aside: Path, checksum: str | None = None) -> None:
        path = self.folder / shard_name(shard, column)
        checksum = checksum or sha256(aside)
        with self.lock:
            self.refresh()
            aside.replace(path)
            self._checked.add(path.name)
            self._checksums(column)[shard] = checksum
            write_json(self.folder / "meta.json", self.meta)


def shard_name(shard: int, column: str) -> str:
    """`00003.chat.safetensors`."""
    return f"{shard:05d}.{column}.safetensors"
