import errno
import json
import os
import shutil

import pytest
import torch

from crosscoder.data import Store
from crosscoder.data.storage.copying import copy_store
from crosscoder.errors import UserError, WriteError
from tests.helpers.small import random_acts, store_of


@pytest.fixture
def store(tmp_path) -> Store:
    """Ten rows of three sources in two shards."""
    streams = {
        name: random_acts(10, width, seed=width)
        for name, width in {"base": 3, "chat": 3, "other": 5}.items()
    }
    return store_of(tmp_path / "store", streams, [6, 4])


def test_a_copy_does_not_depend_on_the_original(store, tmp_path):
    before = {name: store.acts(1, [name]) for name in ("base", "chat")}
    copy = copy_store(store, ["chat-base", "chat"], tmp_path / "run" / "heldout")
    shutil.rmtree(store.folder)
    assert copy.sources.names == ("chat", "base")
    assert copy.tokens_sha256 == store.tokens_sha256
    assert all(torch.equal(copy.acts(1, [name]), acts) for name, acts in before.items())
    assert not list(copy.folder.glob("*other*"))


def test_an_existing_copy_is_reused_and_another_store_is_not_overwritten(store, tmp_path):
    copy = copy_store(store, ["base", "chat"], tmp_path / "heldout")
    inode = (copy.folder / "meta.json").stat().st_ino
    assert (
        copy_store(store, ["base"], tmp_path / "heldout").folder / "meta.json"
    ).stat().st_ino == inode
    with pytest.raises(UserError, match="heldout holds another store: delete it"):
        copy_store(store, ["other"], tmp_path / "heldout")


@pytest.mark.faults
def test_a_damaged_shard_is_not_copied(store, tmp_path):
    path = store.folder / "00001.chat.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"00001\.chat\.safetensors is damaged"):
        copy_store(store, ["base", "chat"], tmp_path / "heldout")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.faults
def test_a_full_disk_leaves_no_partial_copy(store, tmp_path, monkeypatch):
    def fills_the_disk(source, target) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", fills_the_disk)
    with pytest.raises(WriteError, match="heldout"):
        copy_store(store, ["base"], tmp_path / "heldout")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.faults
def test_an_incomplete_store_is_not_copied(store, tmp_path):
    meta = json.loads((store.folder / "meta.json").read_text())
    meta["sources"]["base"]["checksums"][1] = None
    (store.folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match="not complete"):
        copy_store(Store(store.folder), ["base"], tmp_path / "heldout")
