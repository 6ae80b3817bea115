import errno
import json
import os
import re
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from crosscoder.data import Store
from crosscoder.errors import UserError
from crosscoder.io import tensors
from crosscoder.io.checksum import compute_sha256
from tests.helpers.small import random_acts, sources_of, store_of
from tests.helpers.spoiling import message_of, spoil_json


@pytest.fixture
def streams() -> dict[str, torch.Tensor]:
    return {"base": torch.randn(10, 3), "chat": torch.randn(10, 5)}


@pytest.fixture
def store(tmp_path, streams) -> Store:
    """Ten rows in three shards."""
    return store_of(tmp_path / "store", streams, [4, 4, 2])


def test_a_store_returns_what_was_written(store, streams):
    again = Store(store.folder)
    acts = torch.cat([again.acts(shard, ["chat", "base"]) for shard in again])
    assert torch.equal(acts, torch.cat([streams["chat"], streams["base"]], dim=1))
    assert torch.cat([again.tokens(shard).ids for shard in again]).tolist() == list(range(10))
    assert len(again) == 10
    assert (again.sources.names, again.sources.widths) == (("base", "chat"), (3, 5))


def test_files_have_the_documented_names(store):
    names = [
        f"{shard:05d}.{column}.safetensors"
        for shard in range(3)
        for column in ("base", "chat", "tokens")
    ]
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", *names, "meta.json"]


def test_dtype_is_kept(tmp_path, streams):
    streams = {name: acts.bfloat16() for name, acts in streams.items()}
    assert store_of(tmp_path / "s", streams, [10]).acts(0, ["base"]).dtype == torch.bfloat16


@pytest.mark.faults
def test_a_failed_write_leaves_neither_file_nor_entry(store, monkeypatch):
    def fills_the_disk(tensors, path, metadata) -> None:
        path.write_bytes(b"the first few")
        raise OSError(errno.ENOSPC, "No space left on device")

    (store.folder / "00001.chat.safetensors").unlink()
    monkeypatch.setattr(tensors, "save_file", fills_the_disk)
    with pytest.raises(OSError, match="No space left"):
        store.write(1, "chat", {"acts": torch.zeros(4, 5)})
    again = Store(store.folder)
    assert not again.has(1, "chat")
    assert not again.is_complete("chat")
    assert again.is_complete("base")
    assert not list(store.folder.glob("*.tmp"))


@pytest.mark.faults
@pytest.mark.parametrize(
    "wrong", [{"counts": [0]}, {"counts": [4, 1.5]}, {"counts": []}, {"seq_len": 0}]
)
def test_a_store_that_could_not_be_opened_is_not_created(tmp_path, wrong, unchecked):
    entry = {"width": 3, "lm": "base", "hookpoint": ""}
    meta = {"sources": {"base": entry}, "counts": [4], "seq_len": 1, "dtype": "float32"}
    with pytest.raises(
        UserError, match=r"cannot create an activation store in .*: (counts|seq_len).*: .* should"
    ):
        Store.create(tmp_path / "s", meta | wrong)
    assert not (tmp_path / "s").exists()


@pytest.mark.faults
def test_a_file_in_the_stores_place_is_named(tmp_path):
    (tmp_path / "s").write_text("something else")
    entry = {"width": 3, "lm": "base", "hookpoint": ""}
    with pytest.raises(UserError, match=r"cannot create an activation store in .*File exists"):
        Store.create(
            tmp_path / "s",
            {"sources": {"base": entry}, "counts": [4], "seq_len": 1, "dtype": "float32"},
        )


@pytest.mark.faults
@pytest.mark.parametrize("median", [0, -1.0, "large", None, [1], True])
def test_an_invalid_median_norm_is_refused(store, median):
    store.meta["sources"]["base"]["median_norm"] = median
    (store.folder / "meta.json").write_text(json.dumps(store.meta))
    with pytest.raises(UserError, match=r"sources\.base\.median_norm: input should be "):
        Store(store.folder)


@pytest.mark.faults
def test_norms_of_another_number_of_tokens_are_refused(store):
    store.write(1, "chat", {"acts": torch.zeros(4, 5), "norm": torch.zeros(3)})
    with pytest.raises(
        UserError, match=r"00001\.chat\.safetensors has norms of \[3\] tokens, but the store says 4"
    ):
        store.norms(1, "chat")


@pytest.mark.faults
def test_norms_of_a_truncated_shard_are_not_read(store):
    damage(store, "truncated")
    with pytest.raises(UserError, match=r"00001\.chat\.safetensors is damaged"):
        Store(store.folder).norms(1, "chat")


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
    with pytest.raises(
        UserError, match=r"00001\.chat\.safetensors is damaged.*; delete it to harvest it again"
    ):
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
def test_an_unfinished_store_says_so(tmp_path):
    entry = {"width": 3, "lm": "base", "hookpoint": ""}
    store = Store.create(
        tmp_path / "s",
        {"sources": {"base": entry}, "counts": [4], "seq_len": 1, "dtype": "float32"},
    )
    with pytest.raises(
        UserError, match=r"not complete: 00000\.base\.safetensors has not been harvested"
    ):
        store.acts(0, ["base"])


@pytest.mark.faults
@pytest.mark.parametrize("content", [None, "{", "{}", '{"format": 99}'])
def test_a_folder_that_is_not_a_store_is_named(tmp_path, content):
    if content:
        (tmp_path / "meta.json").write_text(content)
    with pytest.raises(UserError, match=str(tmp_path)) as error:
        Store(tmp_path)
    assert "\n" not in str(error.value)


def test_the_error_about_other_sources_describes_both_sides(store):
    store.require(sources_of(3, 5))
    store.require(sources_of(3))
    with pytest.raises(UserError) as error:
        store.require(sources_of(3, 7))
    said = (
        "store has sources [base, chat] of width 3, 5, "
        "but the crosscoder expects [base, chat] of width 3, 7"
    )
    assert str(error.value) == said
    with pytest.raises(UserError, match=r"expects \[base, chat, third\]"):
        store.require(sources_of(3, 5, 2))


def test_another_hookpoint_is_refused(tmp_path):
    store = store_of(tmp_path / "s", {"base": torch.ones(4, 3)}, [4])
    store.require(sources_of(3))  # it does not say where it was read
    store.meta["sources"]["base"]["hookpoint"] = "resid_post.2"
    with pytest.raises(
        UserError,
        match=r"store has base at resid_post\.2, but the crosscoder expects it at resid_post\.1",
    ):
        store.require(sources_of(3))


# --- links to another store ---


def empty_like(store: Store, folder) -> Store:
    meta = {
        key: store.meta[key] for key in ("counts", "seq_len", "dtype", "tokens_sha256", "contrast")
    }
    entries = {
        name: {key: entry[key] for key in ("width", "lm", "hookpoint")}
        for name, entry in store.meta["sources"].items()
    }
    return Store.create(folder, meta | {"sources": entries})


def test_shards_of_another_store_are_hard_links(store, streams, tmp_path):
    other = empty_like(store, tmp_path / "other")
    other.link_shards_from(store, "chat", "chat")
    again = Store(other.folder)
    assert torch.equal(torch.cat([again.acts(shard, ["chat"]) for shard in again]), streams["chat"])
    assert not again.has(0, "base")
    paths = [s.folder / "00000.chat.safetensors" for s in (store, other)]
    assert paths[0].stat().st_ino == paths[1].stat().st_ino
    paths[0].unlink()
    assert len(again.acts(0, ["chat"])) == 4


def test_only_existing_shards_are_linked(store, tmp_path):
    (store.folder / "00001.chat.safetensors").unlink()
    other = empty_like(store, tmp_path / "other")
    other.link_shards_from(store, "chat", "chat")
    assert [other.has(shard, "chat") for shard in other] == [True, False, True]


@pytest.mark.faults
def test_damaged_shards_are_not_linked(store, tmp_path):
    damage(store, "one bit flipped")
    other = empty_like(store, tmp_path / "other")
    other.link_shards_from(store, "chat", "chat")
    assert [other.has(shard, "chat") for shard in other] == [True, False, True]


def test_unknown_entries_of_meta_json_are_kept(store):
    path = store.folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scale": {"base": 1.5}}))
    again = Store(store.folder)
    again.write(1, "chat", {"acts": torch.zeros(4, 5)})
    assert Store(store.folder).meta["scale"] == {"base": 1.5}
    assert json.loads(path.read_text())["counts"] == [4, 4, 2]


def test_a_store_returns_the_difference_of_two_sources(tmp_path):
    streams = {"base": random_acts(6, 4), "chat": random_acts(6, 4, seed=1)}
    store = store_of(tmp_path, streams, [4, 2])
    read = store.acts(1, ["chat-base", "chat"])
    torch.testing.assert_close(
        read, torch.cat([streams["chat"] - streams["base"], streams["chat"]], dim=1)[4:]
    )
    store.require(store.sources.subset(["chat-base"]))


# --- a store from elsewhere ---


def read(folder: Path) -> float:
    """Read everything in the first shard of a store."""
    store = Store(folder)
    store.tokens(0)
    store.acts(0, ["base", "chat"])
    return store.median_norm("base")


def test_files_have_the_permissions_of_the_umask(tmp_path, streams):
    before = os.umask(0o027)
    try:
        store = store_of(tmp_path / "s", streams, [10])
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.folder.glob("*.*")} == {0o640}


@pytest.mark.parametrize(
    "name", ["meta.json", ".lock", "00000.base.safetensors", "00000.tokens.safetensors"]
)
def test_a_link_out_of_a_store_is_refused_and_its_target_left_alone(store, tmp_path, name):
    target = (store.folder / name).rename(tmp_path / "mine")
    content = target.read_bytes() or target.write_text("mine")
    (store.folder / name).symlink_to(target)
    with pytest.raises(UserError, match=r"leads out of its folder|it is a link"):
        read(store.folder)
    assert target.read_bytes() in (content, b"mine")


@pytest.mark.parametrize("kind", ["folder", "pipe"])
@pytest.mark.parametrize(
    "name", ["meta.json", ".lock", "00000.base.safetensors", "00000.tokens.safetensors"]
)
def test_folders_and_pipes_in_place_of_files_are_refused_without_waiting(store, name, kind):
    path = store.folder / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(
        UserError, match=rf"{re.escape(name)}.*it is a {kind}|{re.escape(name)}: Is a directory"
    ):
        read(store.folder)


def replace_tensors(store: Store, column: str, tensors: dict[str, torch.Tensor]) -> Store:
    """Put something else into the first shard of a store, with the checksum of that."""
    path = store.folder / f"00000.{column}.safetensors"
    path.unlink()
    save_file(tensors, path)
    meta = json.loads((store.folder / "meta.json").read_text())
    checksums = (
        meta["tokens_checksums"] if column == "tokens" else meta["sources"][column]["checksums"]
    )
    checksums[0] = compute_sha256(path)
    (store.folder / "meta.json").write_text(json.dumps(meta))
    return Store(store.folder)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"acts": torch.ones(5, 3)},
        {"acts": torch.ones(4, 2)},
        {"acts": torch.ones(12)},
        {"acts": torch.ones(4, 3, dtype=torch.int64)},
        {"acts": torch.ones(4, 3, dtype=torch.bool)},
        {
            "acts": torch.ones(4, 3, dtype=torch.int8),
            "token": torch.ones(4),
            "dimension": torch.ones(3),
        },
        {
            "acts": torch.ones(4, 3),
            "token": torch.ones(4),
            "dimension": torch.ones(3),
            "centre": torch.ones(3),
        },
    ],
    ids=lambda tensors: str({name: (list(x.shape), str(x.dtype)) for name, x in tensors.items()}),
)
def test_activations_that_meta_json_does_not_describe_are_refused(store, tensors):
    again = replace_tensors(store, "base", tensors)
    with pytest.raises(UserError, match=r"00000\.base\.safetensors"):
        again.acts(0, ["base"])


@pytest.mark.parametrize("column", ["ids", "position", "document", "kind"])
@pytest.mark.parametrize(
    "spoil", [None, lambda x: x[:3], lambda x: x.float(), lambda x: -1 - x, lambda x: x + 2**62]
)
def test_invalid_tokens_are_refused(store, column, spoil, unchecked):
    tensors = store.tokens(0).tensors()
    tensors[column] = spoil(tensors[column]) if spoil else None
    again = replace_tensors(
        store, "tokens", {name: x for name, x in tensors.items() if x is not None}
    )
    with pytest.raises(UserError, match=rf"00000\.tokens\.safetensors.*'{column}'"):
        again.tokens(0)


def test_wrong_counts_are_refused_before_memory_is_allocated(store):
    meta = json.loads((store.folder / "meta.json").read_text())
    (store.folder / "meta.json").write_text(json.dumps(meta | {"counts": [2**50, 4, 2]}))
    with pytest.raises(
        UserError, match=r"'ids' has shape \[4\], but the store says \[1125899906842624\]"
    ):
        Store(store.folder).require(sources_of(3, 5))


@pytest.mark.long
def test_a_store_with_one_error_is_read_or_refused_in_one_line(store):
    meta = store.folder / "meta.json"
    sound = json.loads(meta.read_text())
    for what, text in spoil_json(sound):
        meta.write_text(text)
        said = message_of(
            lambda: (Store(store.folder).require(sources_of(3, 5)), read(store.folder))
        )
        assert len(said.splitlines()) <= 1, what
