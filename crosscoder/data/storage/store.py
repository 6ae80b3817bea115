"""The activation store: a folder of safetensors shards with a meta.json.

    NNNNN.<source>.safetensors   acts [n, d_source], exact or as 8-bit integers (quantization.py);
                                 norm [n]
    NNNNN.tokens.safetensors     ids, position, document, kind, each [n]
    meta.json                    sources and widths, dtype, counts, seq_len, provenance, checksums,
                                 and the median_norm of each source

`norm` is ‖x‖ of every token. It decides which tokens are outliers: those above OUTLIER
(crosscoder/data/exclude.py) times the median_norm of their source. If a store has no norms, because
an older version or another program wrote it, they are measured when they are needed.

A shard is either complete or absent: it is written to a temporary file, renamed, and then recorded
in meta.json with its checksum. A store may come from anyone. No file is opened that leads out of
the folder, and all files are checked against meta.json. Several processes may write one store at
the same time: a process locks the shard it works on, the operating system releases the lock of a
process that dies, and meta.json is read again before every change.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from crosscoder.core.types import Tokens
from crosscoder.data.storage.from_arrays import (
    convert_arrays,
    cut_shards,
    describe_arrays,
    number_tokens,
)
from crosscoder.data.storage.linking import link_shard
from crosscoder.data.storage.locking import try_lock
from crosscoder.data.storage.meta import get_checksums, write_new_meta
from crosscoder.data.storage.reader import StoreReader
from crosscoder.data.storage.shards import make_shard_name
from crosscoder.errors import UserError, first_line
from crosscoder.io.checksum import compute_sha256
from crosscoder.io.files import delete_unfinished
from crosscoder.io.tensors import write_tensors
from crosscoder.values import require_whole

log = logging.getLogger(__name__)


class Store(StoreReader):
    """An activation store on disk that is read and written."""

    @classmethod
    def create(cls, folder: Path, meta: dict[str, Any]) -> "Store":
        """Open the store in `folder`, or create it.

        Args:
            folder: Folder of the store.
            meta: Content of meta.json for a new store, without checksums.

        Raises:
            UserError: The folder cannot be written, or holds something that is not a store.
        """
        if not (folder / "meta.json").exists():
            write_new_meta(folder, meta)
        try:
            return cls(folder)
        except UserError as error:
            # the folder may hold shards that took hours, so the user decides about deleting it
            raise UserError(f"{error}; delete that folder to make it again") from error

    @classmethod
    def from_arrays(
        cls,
        folder: str | Path,
        arrays: Mapping[str, Any],
        diff_pair: Sequence[str] | None = None,
        tokens: Tokens | None = None,
        shard_tokens: int = 16_384,
    ) -> "Store":
        """Write a store of activations that are in memory, or reuse the store of the same ones.

        Args:
            folder: Folder of the store.
            arrays: Activations [n_tokens, width] of every source by its name: numpy arrays or
                tensors. Row i of all sources is the same token.
            diff_pair: The two sources to compare, the finetuned one first; by default chat and
                base, if there are sources of these names.
            tokens: The tokens. Without them, each row counts as a document of its own.
            shard_tokens: Tokens per file.

        Raises:
            UserError: The folder holds another store, or the arrays are not one row of finite
                numbers per token.
        """
        require_whole("shard_tokens", shard_tokens)
        tensors = convert_arrays(arrays)
        n = len(next(iter(tensors.values())))
        tokens = number_tokens(n) if tokens is None else tokens
        if len(tokens) != n:
            raise UserError(f"expected one token per row: {n:,} rows, {len(tokens):,} tokens")
        meta = describe_arrays(tensors, tokens, diff_pair, shard_tokens)
        store = cls.create(Path(folder), meta)
        if any(store.meta.get(key) != meta[key] for key in ("tokens_sha256", "contrast", "counts")):
            raise UserError(f"{folder} holds another store: delete it, or use another folder")
        for shard, column, content in cut_shards(tensors, tokens, shard_tokens):
            if not store.has(shard, column):
                store.write(shard, column, content)
        return store

    @contextmanager
    def lock_shard(self, shard: int, lm: str) -> Iterator[bool]:
        """Try to lock a shard of one language model while the block is open.

        Yields:
            False if another process holds the lock. Otherwise True; meta.json has been read again,
            so shards that other processes have completed are known.
        """
        with try_lock(self.folder / f".{shard:05d}.{lm}.lock") as is_locked:
            if is_locked:
                self.refresh()
            yield is_locked

    def write(self, shard: int, column: str, tensors: dict[str, Tensor]) -> None:
        """Add one shard of a source (or of "tokens")."""
        path = self.folder / make_shard_name(shard, column)
        # this process has locked the shard, so only a process that was killed can have left these
        delete_unfinished(self.folder, path.name)
        write_tensors(path, tensors)
        self._record_shard(shard, column, compute_sha256(path))

    def link_shards_from(self, other: "Store", name: str, column: str) -> None:
        """Add the shards of a source that another store already holds.

        Files are hard links where possible, and copies otherwise. Shards that are damaged or cannot
        be read are skipped.

        Args:
            other: The other store; its shards have the same tokens.
            name: The source's name in the other store.
            column: The source's name in this store.
        """
        for shard in self:
            if self.has(shard, column) or not other.has(shard, name):
                continue
            checksum = other.find_checksum(shard, name)
            path = self.folder / make_shard_name(shard, column)
            try:
                if link_shard(other.find_shard(shard, name), path, checksum):
                    self._record_shard(shard, column, checksum)
            except (OSError, UserError) as error:
                file = other.folder / make_shard_name(shard, name)
                log.debug("%s is skipped: %s", file, first_line(error))

    def _record_shard(self, shard: int, column: str, checksum: str | None) -> None:
        """Record in meta.json a shard whose file is complete."""
        with self.lock:
            self.refresh()
            self._verified.add(make_shard_name(shard, column))
            get_checksums(self.meta, column)[shard] = checksum
            self._drop_norms(shard, column)
            self._write_meta()

    def _drop_norms(self, shard: int, column: str) -> None:
        """Drop what was measured on a source before one of its shards was written."""
        self._medians.pop(column, None)
        self._norms.pop(make_shard_name(shard, column), None)
        if column in self.meta["sources"]:
            self.meta["sources"][column].pop("median_norm", None)
