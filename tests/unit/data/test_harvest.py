"""Harvesting two tiny models: the right activations, each computed once, shard by shard."""

import itertools
import json
import shutil
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from crosscoder.core.types import Kind, Tokens
from crosscoder.data import Harvest, Store, forward, passes
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import UserError
from crosscoder.lm import Hookpoint, Pair, TinyLM, compiling, load_pair
from crosscoder.lm.hooks import read
from crosscoder.lm.types import PreTrainedModel

SEQ_LEN, N_SEQUENCES = 16, 10  # three shards of 4, 4 and 2 sequences, each read in batches of 2
Call = namedtuple("Call", "model hookpoints tokens")


def token_set(seed: int = 0) -> TokenSet:
    ids = torch.randint(
        6, 200, (N_SEQUENCES, SEQ_LEN), generator=torch.Generator().manual_seed(seed)
    )
    ids[:, 0] = 2
    kind = torch.where(ids == 2, Kind.SPECIAL, Kind.PLAIN)
    position = torch.arange(SEQ_LEN).expand_as(ids)
    document = torch.arange(N_SEQUENCES)[:, None].expand_as(ids)
    return TokenSet(
        Tokens(*(column.flatten() for column in (ids, position, document, kind))), SEQ_LEN
    )


@pytest.fixture
def pair() -> Pair:
    return load_pair("tiny")


@pytest.fixture
def harvest(tmp_path) -> Harvest:
    return Harvest(tmp_path / "stores", batch_tokens=2 * SEQ_LEN, shard_tokens=4 * SEQ_LEN)


@pytest.fixture
def calls(monkeypatch) -> Iterator[list[Call]]:
    """Record every forward pass: (model, hookpoints, number of tokens)."""
    made: list[Call] = []

    def counted(model, hookpoints, ids, positions, **options):
        made.append(Call(model, [str(hookpoint) for hookpoint in hookpoints], ids.numel()))
        return read(model, hookpoints, ids, positions, **options)

    monkeypatch.setattr(forward, "read", counted)
    return made


@pytest.fixture
def compiled(monkeypatch) -> list[PreTrainedModel]:
    """Record which models would be compiled."""
    models: list[PreTrainedModel] = []

    @contextmanager
    def compile_layers(model, *others):
        models.append(model)
        yield True

    monkeypatch.setattr(compiling, "compile_layers", compile_layers)
    return models


def harvested(
    harvest: Harvest, pair: Pair, hookpoints=("resid_post.1",), names=None, seed: int = 0
) -> Store:
    sources = pair.sources(list(hookpoints))
    return harvest.run(pair, sources.subset(names or sources.names), {"train": token_set(seed)})[
        "train"
    ]


def all_acts(store: Store, name: str) -> torch.Tensor:
    return torch.cat([store.acts(shard, [name]) for shard in store])


def all_tokens(n_models: int) -> int:
    return n_models * N_SEQUENCES * SEQ_LEN


# --- content ---


@pytest.mark.long
def test_the_store_holds_the_activations_of_the_models(harvest, pair):
    store, tokens = harvested(harvest, pair), token_set().tokens
    ids, positions = (column.view(-1, SEQ_LEN) for column in (tokens.ids, tokens.position))
    for name in ("base", "chat"):
        expected = read(pair[name], [Hookpoint(1, "resid_post")], ids, positions)[
            Hookpoint(1, "resid_post")
        ]
        torch.testing.assert_close(
            all_acts(store, name), expected.flatten(0, 1), atol=1e-5, rtol=1e-4
        )
    assert store.counts == [64, 64, 32]
    written = [store.tokens(shard).tensors() for shard in store]
    for name, column in tokens.tensors().items():
        assert torch.equal(torch.cat([part[name] for part in written]), column)


def test_meta_describes_the_sources_and_their_provenance(harvest, pair):
    store = harvested(harvest, pair)
    assert store.sources == pair.sources()
    assert store.tokens_sha256 == token_set().sha256
    assert store.meta["dtype"] == "float32"
    assert Pair.from_spec(store.meta["pair"], "cpu").sources() == pair.sources()
    norms = all_acts(store, "chat")[token_set().tokens.kind != Kind.SPECIAL].norm(dim=-1)
    assert store.meta["sources"]["chat"]["median_norm"] == pytest.approx(float(norms.median()))


@pytest.mark.long
def test_activations_keep_the_models_dtype(harvest):
    assert (
        all_acts(harvested(harvest, load_pair("tiny", dtype="bfloat16")), "base").dtype
        == torch.bfloat16
    )


@pytest.mark.long
def test_one_pass_per_model_reads_all_hookpoints(harvest, pair, calls):
    harvested(harvest, pair, ("resid_post.0", "attn_z.1", "mlp_out.1"))
    assert sum(call.tokens for call in calls) == all_tokens(n_models=2)
    assert all(set(call.hookpoints) == {"resid_post.0", "attn_z.1", "mlp_out.1"} for call in calls)


def test_models_are_harvested_one_after_the_other(harvest, calls):
    harvested(harvest, load_pair("tiny", residency="sequential"))
    changes = sum(a.model is not b.model for a, b in itertools.pairwise(calls))
    assert changes == 1


def test_models_are_released_afterwards(harvest, pair):
    harvested(harvest, pair)
    assert not pair.models.loaded


def test_a_single_sequence_at_the_end_of_a_shard_joins_the_pass_before(harvest, pair, calls):
    harvested(replace(harvest, shard_tokens=5 * SEQ_LEN), pair, names=["base"])
    assert [call.tokens // SEQ_LEN for call in calls] == [2, 3, 2, 3]


@pytest.mark.long
def test_a_compiled_harvest_differs_by_rounding_alone(harvest, pair):
    eager = harvested(harvest, pair)
    root = Path(harvest.root)
    compiled = harvested(replace(harvest, root=root / "2", compile=True), pair)
    other = replace(harvest, root=root / "4", compile=True, batch_tokens=4 * SEQ_LEN)
    large = harvested(other, pair)
    for name in ("base", "chat"):
        acts = all_acts(compiled, name)
        torch.testing.assert_close(acts, all_acts(eager, name), atol=1e-5, rtol=1e-4)
        assert torch.equal(acts, all_acts(large, name))


@pytest.mark.parametrize(("compile", "n_compiled"), [("auto", 0), (False, 0), (True, 2)])
def test_few_tokens_are_not_worth_a_compilation(harvest, pair, compiled, compile, n_compiled):
    harvested(replace(harvest, compile=compile), pair)
    assert len(compiled) == n_compiled


def test_many_tokens_are_worth_a_compilation(harvest, pair, compiled, monkeypatch):
    monkeypatch.setattr(passes, "LEAST_OPERATIONS", 1)
    harvested(harvest, pair)
    assert len(compiled) == 2


# --- reuse ---


def test_stores_of_earlier_versions_are_reused(harvest, pair):
    assert harvested(harvest, pair).folder.name == "73f040ce6aaaba51"


def test_a_second_run_computes_nothing(harvest, pair, calls):
    first = harvested(harvest, pair)
    calls.clear()
    assert harvested(harvest, pair).folder == first.folder
    assert not calls


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.parametrize("killed_after", [0, 1, 2, 3, 7, 9])
def test_after_a_kill_only_what_is_missing_is_harvested(
    harvest, pair, calls, monkeypatch, killed_after
):
    counted = forward.read

    def killed(*args, **options):
        if len(calls) == killed_after:
            raise KeyboardInterrupt
        return counted(*args, **options)

    monkeypatch.setattr(forward, "read", killed)
    with pytest.raises(KeyboardInterrupt):
        harvested(harvest, pair)
    monkeypatch.setattr(forward, "read", counted)
    done = sum(call.tokens for call in calls)
    calls.clear()
    store = harvested(harvest, pair)
    redone = done + sum(call.tokens for call in calls) - all_tokens(n_models=2)
    assert 0 <= redone < 4 * SEQ_LEN  # less than one shard
    whole = harvested(replace(harvest, root=Path(harvest.root) / "fresh"), pair)
    for name in ("base", "chat"):
        assert torch.equal(all_acts(store, name), all_acts(whole, name))
    assert (
        store.meta["sources"]["chat"]["median_norm"] == whole.meta["sources"]["chat"]["median_norm"]
    )


def test_a_new_source_harvests_only_itself(harvest, pair, calls):
    harvested(harvest, pair, names=["base"])
    calls.clear()
    store = harvested(harvest, pair)
    assert sum(call.tokens for call in calls) == all_tokens(n_models=1)
    assert store.is_complete("base")
    assert store.is_complete("chat")


@pytest.mark.long
def test_a_new_hookpoint_harvests_only_itself(harvest, pair, calls):
    alone = harvested(harvest, pair, ("resid_post.0",))
    calls.clear()
    store = harvested(harvest, pair, ("resid_post.0", "resid_post.1"))
    assert {name for call in calls for name in call.hookpoints} == {"resid_post.1"}
    assert torch.equal(all_acts(store, "chat.resid_post.0"), all_acts(alone, "chat"))


@pytest.mark.long
@pytest.mark.parametrize("change", ["weights", "tokens", "dtype"])
def test_other_weights_tokens_or_dtype_are_harvested_again(harvest, pair, calls, change):
    first = harvested(harvest, pair)
    calls.clear()
    if change == "weights":
        pair.lms["chat"] = TinyLM(seed=0, drift=0.3)
    if change == "dtype":
        pair = load_pair("tiny", dtype="bfloat16")
    other = harvested(harvest, pair, seed=int(change == "tokens"))
    assert other.folder != first.folder
    assert sum(call.tokens for call in calls) == all_tokens(
        n_models=1 if change == "weights" else 2
    )


@pytest.mark.faults
def test_a_deleted_shard_is_harvested_again(harvest, pair, calls):
    store = harvested(harvest, pair)
    expected = all_acts(store, "chat")
    (store.folder / "00001.chat.safetensors").unlink()
    calls.clear()
    assert torch.equal(all_acts(harvested(harvest, pair), "chat"), expected)
    assert sum(call.tokens for call in calls) == 4 * SEQ_LEN


@pytest.mark.faults
def test_an_unfinished_store_can_be_completed_with_another_shard_size(
    harvest, pair, calls, monkeypatch
):
    expected = harvested(replace(harvest, root=Path(harvest.root) / "fresh"), pair)

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        harvested(harvest, pair)
    monkeypatch.undo()
    store = harvested(replace(harvest, shard_tokens=SEQ_LEN), pair)
    ids = torch.cat([store.tokens(shard).ids for shard in store])
    assert torch.equal(ids, token_set().tokens.ids)
    assert torch.equal(all_acts(store, "chat"), all_acts(expected, "chat"))


# --- neighbours, and the folders of earlier runs ---


def spoil(folder: Path, how: str) -> None:
    """Create a folder that is not a store, or not one that can be read."""
    folder.mkdir()
    meta = folder / "meta.json"
    if how == "a folder":
        meta.mkdir()
    elif how == "no text":
        meta.write_bytes(b"\xff\xfe\x00{")
    elif how == "truncated":
        meta.write_text('{"format": 1, "counts": [')
    elif how == "another format":
        meta.write_text('{"format": 2}')
    elif how == "of nothing":  # as data=planted n_tokens=0 left it once
        entry = {"width": 4, "lm": "", "hookpoint": "", "checksums": [None]}
        common = {"format": 1, "dtype": "float32", "seq_len": 1, "tokens_checksums": [None]}
        meta.write_text(json.dumps(common | {"sources": {"base": entry}, "counts": [0]}))
    elif how == "somebody else's":
        meta.write_text('["not", "ours"]')


SPOILT = [
    "empty",
    "a folder",
    "no text",
    "truncated",
    "another format",
    "of nothing",
    "somebody else's",
]


@pytest.mark.faults
@pytest.mark.parametrize("how", SPOILT)
def test_neighbours_that_cannot_be_read_are_skipped(harvest, pair, how):
    root = Path(harvest.root)
    root.mkdir(parents=True)
    (root / "0-a-file").write_text("of somebody")
    (root / "0-a-link").symlink_to(root / "nowhere")
    spoil(root / "0-spoilt", how)
    assert harvested(harvest, pair).is_complete("chat")


def harvested_base(harvest: Harvest, pair: Pair) -> Store:
    return harvested(harvest, pair, names=["base"])


@pytest.mark.faults
@pytest.mark.parametrize("how", ["damaged", "a folder", "another width"])
def test_damaged_shards_of_a_neighbour_are_not_reused(harvest, pair, calls, how):
    neighbour = harvested_base(harvest, pair)
    path = neighbour.folder / "00001.base.safetensors"
    if how == "damaged":
        path.write_bytes(path.read_bytes()[:-8])
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        neighbour.meta["sources"]["base"]["width"] = 31
        (neighbour.folder / "meta.json").write_text(json.dumps(neighbour.meta))
    calls.clear()
    store = harvested(harvest, pair)
    redone = N_SEQUENCES * SEQ_LEN if how == "another width" else 4 * SEQ_LEN
    assert sum(call.tokens for call in calls) == redone + all_tokens(n_models=1)
    assert torch.equal(
        all_acts(store, "base"),
        all_acts(harvested(replace(harvest, root=store.folder), pair), "base"),
    )


def test_shards_without_norms_of_an_older_neighbour_are_reused(harvest, pair, calls):
    older = harvested_base(harvest, pair)
    for shard in older:
        older.write(shard, "base", {"acts": older.acts(shard, ["base"])})
    calls.clear()
    store = harvested(harvest, pair)
    assert sum(call.tokens for call in calls) == all_tokens(n_models=1)
    norms = all_acts(store, "base")[token_set().tokens.is_content].norm(dim=1)
    assert store.median_norm("base") == pytest.approx(float(norms.median()))


@pytest.mark.faults
@pytest.mark.parametrize("content", ["", '{"format": 1', "{}"])
def test_an_own_folder_that_cannot_be_opened_is_an_error_with_advice(harvest, pair, calls, content):
    folder = harvested(harvest, pair).folder
    (folder / "meta.json").write_text(content)
    calls.clear()
    with pytest.raises(
        UserError, match=rf"{folder}.*; delete that folder to make it again"
    ) as error:
        harvested(harvest, pair)
    assert "\n" not in str(error.value)
    assert not calls
    assert (folder / "00000.chat.safetensors").exists()
    shutil.rmtree(folder)
    harvested(harvest, pair)


@pytest.mark.faults
def test_an_own_folder_without_meta_is_harvested_again(harvest, pair):
    store = harvested(harvest, pair)
    expected = all_acts(store, "chat")
    (store.folder / "meta.json").unlink()
    assert torch.equal(all_acts(harvested(harvest, pair), "chat"), expected)


@pytest.mark.faults
def test_an_own_folder_with_other_tokens_is_refused(harvest, pair):
    store = harvested(harvest, pair)
    store.meta["counts"][0] = 48
    (store.folder / "meta.json").write_text(json.dumps(store.meta))
    with pytest.raises(
        UserError, match=r"holds 144 tokens .*, but its name stands for 160 .*; delete that folder"
    ):
        harvested(harvest, pair)


# --- norms ---


@pytest.mark.parametrize("storage", ["exact", "int8"])
def test_norms_are_written_in_the_same_pass(harvest, pair, monkeypatch, storage):
    exact = harvested(replace(harvest, root=Path(harvest.root) / "exact"), pair)
    monkeypatch.setattr(Store, "acts", None)  # nothing is read again
    monkeypatch.setattr("crosscoder.data.storage.reader.dequantize", None)
    store = harvested(replace(harvest, storage=storage), pair)
    monkeypatch.undo()
    for name in ("base", "chat"):
        norms = torch.cat([store.norms(shard, name) for shard in store])
        torch.testing.assert_close(norms, all_acts(exact, name).norm(dim=1))
        assert (
            store.meta["sources"][name]["median_norm"] == exact.meta["sources"][name]["median_norm"]
        )


# --- errors ---


@pytest.mark.faults
def test_nan_is_refused_with_its_token_and_the_shard_is_not_kept(harvest, pair, monkeypatch):
    def broken(model, hookpoints, ids, positions, **options):
        found = read(model, hookpoints, ids, positions, **options)
        if model is pair["chat"] and ids[0, 1] == token_set().tokens.ids[4 * SEQ_LEN + 1]:
            found = {hookpoint: acts.clone() for hookpoint, acts in found.items()}
            found[Hookpoint(1, "resid_post")][1, 3, 5] = torch.nan
        return found

    monkeypatch.setattr(forward, "read", broken)
    row = 5 * SEQ_LEN + 3
    token = int(token_set().tokens.ids[row])
    with pytest.raises(
        UserError, match=rf"chat gives NaN .* resid_post\.1, token {row} \(id {token}, document 5\)"
    ):
        harvested(harvest, pair)
    (folder,) = Path(harvest.root).iterdir()
    store = Store(folder)
    assert [store.has(shard, "chat") for shard in store] == [True, False, False]
    assert store.is_complete("base")


@pytest.mark.faults
def test_nothing_is_harvested_without_disk_space(harvest, pair, calls, monkeypatch):
    needed = 2 * N_SEQUENCES * SEQ_LEN * (32 * 4 + 4)  # activations and norms
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(needed - 1))
    with pytest.raises(
        UserError, match=r"harvest needs 0\.00 GB in .*stores, where 0\.00 GB are free"
    ):
        harvested(harvest, pair)
    assert not calls
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(needed))
    harvested(harvest, pair)


def test_a_layer_the_models_do_not_have_is_refused(harvest, pair):
    with pytest.raises(UserError, match=r"no layer 7: .* has layers 0 to 1"):
        harvested(harvest, pair, ("resid_post.7",))
