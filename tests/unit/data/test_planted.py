"""The planted world is what it says: statistics of its activations against its truth."""

from dataclasses import replace

import pytest
import torch

from crosscoder.data import Harvest
from crosscoder.data.planted import BASE_ONLY, CHAT_ONLY, SHARED, Planted, truth_of
from crosscoder.errors import UserError
from crosscoder.init import TransposedDecoder
from crosscoder.types import Kind
from tests.small import sources_of

WORLD = Planted(width=24, shared=5, base_only=3, chat_only=4, active=2.0, noise=0.01)


def strengths(acts: torch.Tensor) -> torch.Tensor:
    """How strongly each feature is present in activations [n, width]: least squares on fewer directions than dimensions."""
    return torch.linalg.lstsq(WORLD.truth()["directions"].T, acts.T).solution.T


@pytest.fixture(scope="module")
def streams() -> tuple[torch.Tensor, torch.Tensor]:
    base, chat = WORLD.sample(20_000, "train").values()
    return strengths(base), strengths(chat)


def test_truth_has_the_classes_asked_for():
    truth = WORLD.truth()
    assert torch.bincount(truth["classes"]).tolist() == [5, 3, 4]
    torch.testing.assert_close(truth["directions"].norm(dim=1), torch.ones(12))


def test_each_stream_holds_its_own_features_and_the_shared_ones(streams):
    classes = WORLD.truth()["classes"]
    for found, absent in zip(streams, (CHAT_ONLY, BASE_ONLY), strict=True):
        present = found.abs().amax(0) > 0.4
        assert torch.equal(present, classes != absent)


def test_shared_features_are_equally_strong_in_both_streams(streams):
    base, chat = streams
    shared = WORLD.truth()["classes"] == SHARED
    torch.testing.assert_close(base[:, shared], chat[:, shared], atol=0.3, rtol=0)


def test_features_are_on_at_their_rates(streams):
    base, chat = streams
    rates = WORLD.truth()["rates"]
    found = (torch.maximum(base, chat) > 0.25).float().mean(0)
    torch.testing.assert_close(found, rates, atol=0.02, rtol=0)


def test_as_many_are_active_as_asked_for_where_no_rate_is_capped():
    assert float(Planted().truth()["rates"].sum()) == pytest.approx(6.0, rel=0.1)


def test_noise_has_its_deviation():
    silent = replace(WORLD, active=0.0, noise=0.05)
    base, chat = silent.sample(5000, "train").values()
    assert float(base.std()) == pytest.approx(0.05, rel=0.05)
    assert not torch.equal(base, chat)


def test_splits_differ_and_a_seed_repeats():
    train, again, heldout = (WORLD.sample(50, split)["base"] for split in ("train", "train", "heldout"))
    assert torch.equal(train, again)
    assert not torch.allclose(train, heldout)


def test_stores_are_drawn_once_and_hold_the_truth(tiny_pair, tmp_path, monkeypatch):
    def stores():
        return WORLD.stores(tiny_pair, [], None, Harvest(tmp_path), {"train": 100, "validation": 10, "heldout": 50})

    splits = stores()
    assert (len(splits.train), len(splits.heldout)) == (100, 50)
    assert splits.sources.contrast == ("chat", "base")
    base, chat = WORLD.sample(100, "train").values()
    assert torch.equal(splits.train.acts(0, ["base", "chat"]), torch.cat([base, chat], dim=1))
    assert (splits.train.tokens(0).kind == Kind.PLAIN).all()
    assert torch.equal(truth_of(splits.train)["directions"], WORLD.truth()["directions"])
    monkeypatch.setattr(Planted, "sample", None)
    assert stores().train.folder == splits.train.folder


def test_another_world_is_another_store(tiny_pair, tmp_path):
    folders = {
        world.stores(tiny_pair, [], None, Harvest(tmp_path), {"train": n, "validation": 10, "heldout": 50}).train.folder
        for world, n in ((WORLD, 100), (WORLD, 200), (replace(WORLD, seed=1), 100))
    }
    assert len(folders) == 3


def test_streams_between_have_their_share_of_what_finetuning_changed():
    world = Planted(
        width=256, shared=4, base_only=4, chat_only=12, rotated=8, active=3.0, between={"sft": 0.5}, noise=0
    )
    truth, streams = world.truth(), world.sample(4000, "train")
    assert list(streams) == ["base", "chat", "sft"]
    tuned = truth["tuned/sft"]
    assert 0 < tuned[4:].sum() < 24
    base, chat = world.strengths(4000, "train")
    by_hand = sum(
        (chat if tuned[i] else base)[:, i, None] * truth["chat_directions" if tuned[i] else "directions"][i]
        for i in range(28)
    )
    torch.testing.assert_close(streams["sft"], by_hand)


def test_streams_between_are_in_the_store_in_order_and_leave_the_others_as_they_were(tiny_pair, tmp_path):
    sizes = {"train": 50, "validation": 50, "heldout": 50}
    plain, more = (
        Planted(between=between).stores(tiny_pair, [], None, Harvest(tmp_path), sizes)
        for between in ({}, {"early": 0.25, "late": 0.75})
    )
    assert more.sources.names == ("base", "early", "late", "chat")
    for name in ("base", "chat"):
        assert torch.equal(plain.train.acts(0, [name]), more.train.acts(0, [name]))


@pytest.mark.parametrize("between", [{"base": 0.5}, {"sft": 1.5}])
def test_streams_between_that_make_no_sense_are_refused(between):
    with pytest.raises(UserError, match=f"data.between .* not {next(iter(between))}"):
        Planted(between=between)


def test_a_crosscoder_of_the_same_seed_does_not_begin_with_the_truth():
    world = Planted(seed=0)
    _, W_dec = TransposedDecoder()(sources_of(64, 64), 120, torch.Generator().manual_seed(0))
    cosines = world.truth()["directions"] @ W_dec[:, :64].T
    assert cosines.max() < 0.7
