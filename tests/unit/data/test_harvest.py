"""Harvesting two tiny models: the right activations, written shard by shard, each computed once whatever happens."""

import itertools
import shutil
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from crosscoder.data import Harvest, Store
from crosscoder.data import harvest as harvest_module
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import UserError
from crosscoder.lm import Hookpoint, Pair, TinyLM, load_pair
from crosscoder.lm.hooks import read
from crosscoder.types import Kind, Tokens

SEQ_LEN, N_SEQUENCES = 16, 10  # three shards of 4, 4 and 2 sequences, each read in batches of 2
Call = namedtuple("Call", "model hookpoints tokens")


def token_set(seed: int = 0) -> TokenSet:
    ids = torch.randint(6, 200, (N_SEQUENCES, SEQ_LEN), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = 2
    kind = torch.where(ids == 2, Kind.SPECIAL, Kind.PLAIN)
    position = torch.arange(SEQ_LEN).expand_as(ids)
    document = torch.arange(N_SEQUENCES)[:, None].expand_as(ids)
    return TokenSet(Tokens(*(column.flatten() for column in (ids, position, document, kind))), SEQ_LEN)


@pytest.fixture
def pair() -> Pair:
    return load_pair("tiny")


@pytest.fixture
def harvest(tmp_path) -> Harvest:
    return Harvest(tmp_path / "stores", batch_tokens=2 * SEQ_LEN, shard_tokens=4 * SEQ_LEN)


@pytest.fixture
def calls(monkeypatch) -> Iterator[list[Call]]:
    """Every forward pass made: (model, hookpoints, number of tokens)."""
    made: list[Call] = []

    def counted(model, hookpoints, ids, positions, mask=None):
        made.append(Call(model, [str(hookpoint) for hookpoint in hookpoints], ids.numel()))
        return read(model, hookpoints, ids, positions, mask)

    monkeypatch.setattr(harvest_module, "read", counted)
    return made


def harvested(harvest: Harvest, pair: Pair, hookpoints=("resid_post.1",), names=None, seed: int = 0) -> Store:
    sources = pair.sources(list(hookpoints))
    return harvest(pair, sources.subset(names or sources.names), {"train": token_set(seed)})["train"]


def all_acts(store: Store, name: str) -> torch.Tensor:
    return torch.cat([store.acts(shard, [name]) for shard in store])


def all_tokens(n_models: int) -> int:
    return n_models * N_SEQUENCES * SEQ_LEN


# --- what is written ---


def test_the_store_holds_what_the_models_give(harvest, pair):
    store, tokens = harvested(harvest, pair), token_set().tokens
    ids, positions = (column.view(-1, SEQ_LEN) for column in (tokens.ids, tokens.position))
    for name in ("base", "chat"):
        expected = read(pair[name], [Hookpoint(1, "resid_post")], ids, positions)[Hookpoint(1, "resid_post")]
        torch.testing.assert_close(all_acts(store, name), expected.flatten(0, 1), atol=1e-5, rtol=1e-4)
    assert store.counts == [64, 64, 32]
    written = [store.tokens(shard).tensors() for shard in store]
    for name, column in tokens.tensors().items():
        assert torch.equal(torch.cat([part[name] for part in written]), column)


def test_meta_says_what_it_is_and_what_made_it(harvest, pair):
    store = harvested(harvest, pair)
    assert store.sources == pair.sources()
    assert store.tokens_sha256 == token_set().sha256
    assert store.meta["dtype"] == "float32"
    assert Pair(**store.meta["pair"]).sources() == pair.sources()
    rows = all_acts(store, "chat")[token_set().tokens.kind != Kind.SPECIAL].double()
    assert store.meta["scale"]["chat"] == pytest.approx(float((rows - rows.mean(0)).square().mean().sqrt()))


def test_activations_keep_the_models_dtype(harvest):
    assert all_acts(harvested(harvest, load_pair("tiny", dtype="bfloat16")), "base").dtype == torch.bfloat16


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
    assert not pair._models


# --- what is not computed again ---


def test_stores_of_earlier_versions_are_found_again(harvest, pair):
    assert harvested(harvest, pair).folder.name == "73f040ce6aaaba51"


def test_a_second_run_computes_nothing(harvest, pair, calls):
    first = harvested(harvest, pair)
    calls.clear()
    assert harvested(harvest, pair).folder == first.folder
    assert not calls


@pytest.mark.faults
@pytest.mark.parametrize("killed_after", [0, 1, 2, 3, 7, 9])
def test_after_a_kill_only_what_is_missing_is_harvested(harvest, pair, calls, monkeypatch, killed_after):
    counted = harvest_module.read

    def killed(*args):
        if len(calls) == killed_after:
            raise KeyboardInterrupt
        return counted(*args)

    monkeypatch.setattr(harvest_module, "read", killed)
    with pytest.raises(KeyboardInterrupt):
        harvested(harvest, pair)
    monkeypatch.setattr(harvest_module, "read", counted)
    done = sum(call.tokens for call in calls)
    calls.clear()
    store = harvested(harvest, pair)
    redone = done + sum(call.tokens for call in calls) - all_tokens(n_models=2)
    assert 0 <= redone < 4 * SEQ_LEN  # less than one shard
    whole = harvested(replace(harvest, root=Path(harvest.root) / "fresh"), pair)
    for name in ("base", "chat"):
        assert torch.equal(all_acts(store, name), all_acts(whole, name))
    assert store.meta["scale"] == whole.meta["scale"]


def test_a_new_source_harvests_only_itself(harvest, pair, calls):
    harvested(harvest, pair, names=["base"])
    calls.clear()
    store = harvested(harvest, pair)
    assert sum(call.tokens for call in calls) == all_tokens(n_models=1)
    assert store.complete("base")
    assert store.complete("chat")


def test_a_new_hookpoint_harvests_only_itself(harvest, pair, calls):
    alone = harvested(harvest, pair, ("resid_post.0",))
    calls.clear()
    store = harvested(harvest, pair, ("resid_post.0", "resid_post.1"))
    assert {name for call in calls for name in call.hookpoints} == {"resid_post.1"}
    assert torch.equal(all_acts(store, "chat.resid_post.0"), all_acts(alone, "chat"))


@pytest.mark.parametrize("change", ["weights", "tokens", "dtype"])
def test_other_weights_tokens_or_dtype_are_harvested_anew(harvest, pair, calls, change):
    first = harvested(harvest, pair)
    calls.clear()
    if change == "weights":
        pair.lms["chat"] = TinyLM(seed=0, drift=0.3)
    if change == "dtype":
        pair = load_pair("tiny", dtype="bfloat16")
    other = harvested(harvest, pair, seed=int(change == "tokens"))
    assert other.folder != first.folder
    assert sum(call.tokens for call in calls) == all_tokens(n_models=1 if change == "weights" else 2)


@pytest.mark.faults
def test_a_deleted_shard_is_harvested_again(harvest, pair, calls):
    store = harvested(harvest, pair)
    expected = all_acts(store, "chat")
    (store.folder / "00001.chat.safetensors").unlink()
    calls.clear()
    assert torch.equal(all_acts(harvested(harvest, pair), "chat"), expected)
    assert sum(call.tokens for call in calls) == 4 * SEQ_LEN


@pytest.mark.faults
def test_another_shard_size_leaves_an_unfinished_store_whole(harvest, pair, calls, monkeypatch):
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


# --- what is refused ---


@pytest.mark.faults
def test_nan_is_refused_with_its_place_and_the_shard_not_kept(harvest, pair, monkeypatch):
    def broken(model, hookpoints, ids, positions, mask=None):
        found = read(model, hookpoints, ids, positions, mask)
        if model is pair["chat"] and ids[0, 1] == token_set().tokens.ids[4 * SEQ_LEN + 1]:
            found = {hookpoint: acts.clone() for hookpoint, acts in found.items()}
            found[Hookpoint(1, "resid_post")][1, 3, 5] = torch.nan
        return found

    monkeypatch.setattr(harvest_module, "read", broken)
    row = 5 * SEQ_LEN + 3
    token = int(token_set().tokens.ids[row])
    with pytest.raises(UserError, match=rf"chat gives NaN .* resid_post\.1, token {row} \(id {token}, document 5\)"):
        harvested(harvest, pair)
    (folder,) = Path(harvest.root).iterdir()
    store = Store(folder)
    assert [store.has(shard, "chat") for shard in store] == [True, False, False]
    assert store.complete("base")


@pytest.mark.faults
def test_without_disk_space_nothing_is_begun(harvest, pair, calls, monkeypatch):
    needed = 2 * N_SEQUENCES * SEQ_LEN * 32 * 4
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(needed - 1))
    with pytest.raises(UserError, match=r"harvest needs 0\.00 GB in .*stores, where 0\.00 GB are free"):
        harvested(harvest, pair)
    assert not calls
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(needed))
    harvested(harvest, pair)


def test_a_layer_the_models_do_not_have_is_refused(harvest, pair):
    with pytest.raises(UserError, match=r"no layer 7: .* has layers 0 to 1"):
        harvested(harvest, pair, ("resid_post.7",))
