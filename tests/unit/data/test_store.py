import errno
import json

import pytest
import torch

from crosscoder.data import Store
from crosscoder.data import store as store_module
from crosscoder.errors import UserError
from tests.small import random_acts, sources_of, store_of


@pytest.fixture
def streams() -> dict[str, torch.Tensor]:
    return {"base": torch.randn(10, 3), "chat": torch.randn(10, 5)}


@pytest.fixture
def store(tmp_path, streams) -> Store:
    """Ten rows in three shards."""
    return store_of(tmp_path / "store", streams, [4, 4, 2])


def test_what_is_read_is_what_was_written(store, streams):
    again = Store(store.folder)
    acts = torch.cat([again.acts(shard, ["chat", "base"]) for shard in again])
    assert torch.equal(acts, torch.cat([streams["chat"], streams["base"]], dim=1))
    assert torch.cat([again.tokens(shard).ids for shard in again]).tolist() == list(range(10))
    assert len(again) == 10
    assert (again.sources.names, again.sources.widths) == (("base", "chat"), (3, 5))


def test_files_are_named_as_the_design_says(store):
    names = [f"{shard:05d}.{column}.safetensors" for shard in range(3) for column in ("base", "chat", "tokens")]
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", *names, "meta.json"]


def test_dtype_is_kept(tmp_path, streams):
    streams = {name: acts.bfloat16() for name, acts in streams.items()}
    assert store_of(tmp_path / "s", streams, [10]).acts(0, ["base"]).dtype == torch.bfloat16


@pytest.mark.faults
def test_a_failed_write_leaves_neither_file_nor_entry(store, monkeypatch):
    def fills_the_disk(tensors, path) -> None:
        path.write_bytes(b"the first few")
        raise OSError(errno.ENOSPC, "No space left on device")

    (store.folder / "00001.chat.safetensors").unlink()
    monkeypatch.setattr(store_module, "save_file", fills_the_disk)
    with pytest.raises(OSError, match="No space left"):
        store.write(1, "chat", {"acts": torch.zeros(4, 5)})
    again = Store(store.folder)
    assert not again.has(1, "chat")
    assert not again.complete("chat")
    assert again.complete("base")
    assert not list(store.folder.glob("*.tmp"))


# --- damage ---


def damage(store: Store, how: str) -> None:
    path = store.folder / "00001.chat.safetensors"
    content = bytearray(path.read_bytes())
    if how == "one bit flipped":
        content[-5] ^= 1
    path.write_bytes(content if how == "one bit flipped" else content[:-8])


@pytest.mark.faults
@pytest.mark.parametrize("how", ["one bit flipped", "truncated"])
def test_a_damaged_shard_is_named_and_others_are_read(store, how):
    damage(store, how)
    again = Store(store.folder)
    with pytest.raises(UserError, match=r"00001\.chat\.safetensors is damaged.*; delete it to harvest it again"):
        again.acts(1, ["base", "chat"])
    assert len(again.acts(1, ["base"])) == len(again.acts(0, ["chat"])) == 4


@pytest.mark.faults
def test_a_missing_shard_is_named(store):
    (store.folder / "00002.base.safetensors").unlink()
    again = Store(store.folder)
    assert not again.has(2, "base")
    with pytest.raises(UserError, match=r"lacks 00002\.base\.safetensors"):
        again.acts(2, ["base"])


@pytest.mark.faults
def test_a_store_that_was_not_finished_says_so(tmp_path):
    entry = {"width": 3, "lm": "base", "hookpoint": ""}
    store = Store.create(tmp_path / "s", {"sources": {"base": entry}, "counts": [4], "seq_len": 1, "dtype": "float32"})
    with pytest.raises(UserError, match=r"not complete: 00000\.base\.safetensors has not been harvested"):
        store.acts(0, ["base"])


@pytest.mark.faults
@pytest.mark.parametrize("content", [None, "{", "{}", '{"format": 99}'])
def test_a_folder_that_is_no_store_is_named(tmp_path, content):
    if content:
        (tmp_path / "meta.json").write_text(content)
    with pytest.raises(UserError, match=str(tmp_path)) as error:
        Store(tmp_path)
    assert "\n" not in str(error.value)


def test_sources_that_do_not_fit_are_told_in_full(store):
    store.require(sources_of(3, 5))
    store.require(sources_of(3))
    with pytest.raises(UserError) as error:
        store.require(sources_of(3, 7))
    said = "store has sources [base, chat] of width 3, 5, but the crosscoder expects [base, chat] of width 3, 7"
    assert str(error.value) == said
    with pytest.raises(UserError, match=r"expects \[base, chat, third\]"):
        store.require(sources_of(3, 5, 2))


def test_another_hookpoint_is_another_stream(tmp_path):
    store = store_of(tmp_path / "s", {"base": torch.ones(4, 3)}, [4])
    store.require(sources_of(3))  # it does not say where it was read
    store.meta["sources"]["base"]["hookpoint"] = "resid_post.2"
    with pytest.raises(
        UserError, match=r"store has base at resid_post\.2, but the crosscoder expects it at resid_post\.1"
    ):
        store.require(sources_of(3))


# --- taking over from another store ---


def empty_like(store: Store, folder) -> Store:
    meta = {key: store.meta[key] for key in ("counts", "seq_len", "dtype", "tokens_sha256", "contrast")}
    entries = {
        name: {key: entry[key] for key in ("width", "lm", "hookpoint")} for name, entry in store.meta["sources"].items()
    }
    return Store.create(folder, meta | {"sources": entries})


def test_a_source_is_taken_over_without_a_copy(store, streams, tmp_path):
    other = empty_like(store, tmp_path / "other")
    other.adopt("chat", store, "chat")
    again = Store(other.folder)
    assert torch.equal(torch.cat([again.acts(shard, ["chat"]) for shard in again]), streams["chat"])
    assert not again.has(0, "base")
    paths = [s.folder / "00000.chat.safetensors" for s in (store, other)]
    assert paths[0].stat().st_ino == paths[1].stat().st_ino
    paths[0].unlink()
    assert len(again.acts(0, ["chat"])) == 4


def test_only_what_is_there_is_taken_over(store, tmp_path):
    (store.folder / "00001.chat.safetensors").unlink()
    other = empty_like(store, tmp_path / "other")
    other.adopt("chat", store, "chat")
    assert [other.has(shard, "chat") for shard in other] == [True, False, True]


@pytest.mark.faults
def test_damage_is_not_taken_over(store, tmp_path):
    damage(store, "one bit flipped")
    other = empty_like(store, tmp_path / "other")
    other.adopt("chat", store, "chat")
    assert [other.has(shard, "chat") for shard in other] == [True, False, True]


def test_notes_stay(store):
    store.note(scale={"base": 1.5})
    assert Store(store.folder).meta["scale"] == {"base": 1.5}
    assert json.loads((store.folder / "meta.json").read_text())["counts"] == [4, 4, 2]


def test_a_store_gives_the_difference_of_two_sources(tmp_path):
    streams = {"base": random_acts(6, 4), "chat": random_acts(6, 4, seed=1)}
    store = store_of(tmp_path, streams, [4, 2])
    read = store.acts(1, ["chat-base", "chat"])
    torch.testing.assert_close(read, torch.cat([streams["chat"] - streams["base"], streams["chat"]], dim=1)[4:])
    store.require(store.sources.subset(["chat-base"]))
