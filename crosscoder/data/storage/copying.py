"""Copies of stores in run folders, to evaluate a run without the cache and the models."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crosscoder.core.sources import Sources
from crosscoder.data.storage.shards import make_shard_name
from crosscoder.data.storage.store import Store
from crosscoder.errors import UserError
from crosscoder.io.checksum import compute_sha256
from crosscoder.io.files import atomic_write
from crosscoder.io.run_dir import write_json
from crosscoder.io.scratch import atomic_folder


def copy_store(store: Store, names: Sequence[str], folder: Path) -> Store:
    """Copy a store with some of its sources to a new folder, whole or not at all.

    Args:
        store: The store to copy.
        names: Names of the sources; for a difference of two sources, both are copied.
        folder: The new folder. If it already holds a store of the same tokens and sources, nothing
            is copied.

    Raises:
        UserError: The folder holds something else, or the store is not complete.
        OSError: The disk is full or cannot be written.
    """
    sources = store.sources.required_sources(names)
    if folder.exists():
        return _open_copy(store, sources, folder)
    with atomic_folder(folder) as copy:
        for shard in store:
            for column in ("tokens", *sources.names):
                _copy_shard(store, shard, column, copy)
        write_json(copy / "meta.json", _select_sources(store.meta, sources))
    return Store(folder)


def _open_copy(store: Store, sources: Sources, folder: Path) -> Store:
    copy = Store(folder)
    has_sources = set(sources.names) <= set(copy.sources.names)
    if copy.tokens_sha256 != store.tokens_sha256 or not has_sources:
        raise UserError(f"{folder} holds another store: delete it to copy {store.folder} there")
    return copy


def _copy_shard(store: Store, shard: int, column: str, folder: Path) -> None:
    """Copy one file and verify the checksum of the copy."""
    path = store.find_shard(shard, column)
    with atomic_write(folder / make_shard_name(shard, column)) as temporary:
        shutil.copyfile(path, temporary)
        if compute_sha256(temporary) != store.find_checksum(shard, column):
            raise UserError(f"{path} is damaged: its checksum is not the one in meta.json")


def _select_sources(meta: dict[str, Any], sources: Sources) -> dict[str, Any]:
    """Return a store's meta with some of its sources only."""
    entries = {name: meta["sources"][name] for name in sources.names}
    diff_pair = list(sources.diff_pair) if sources.diff_pair else None
    return {**meta, "sources": entries, "contrast": diff_pair}
