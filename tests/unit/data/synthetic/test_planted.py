"""The planted world is what it says: statistics of its activations against its truth."""

from dataclasses import replace

import pytest
import torch

from crosscoder.core.init import TransposedDecoder
from crosscoder.core.types import Kind
from crosscoder.data import Harvest
from crosscoder.data.synthetic.planted import BASE_ONLY, CHAT_ONLY, SHARED, Planted, read_truth
from crosscoder.errors import UserError
from tests.helpers.small import sources_of

WORLD = Planted(width=24, shared=5, base_only=3, chat_only=4, active=2.0, noise=0.01)


def fit_strengths(acts: torch.Tensor) -> torch.Tensor:
    """Fit the strength of each feature to activations [n, width] by least squares.

    There are fewer directions than dimensions, so the fit is exact up to noise.
    """
    return torch.linalg.lstsq(WORLD.truth()["directions"].T, acts.T).solution.T


@pytest.fixture(scope="module")
def streams() -> tuple[torch.Tensor, torch.Tensor]:
    base, chat = WORLD.sample(20_000, "train").values()
    return fit_strengths(base), fit_strengths(chat)


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


def test_features_are_active_at_their_rates(streams):
    base, chat = streams
    rates = WORLD.truth()["rates"]
    found = (torch.maximum(base, chat) > 0.25).float().mean(0)
    torch.testing.assert_close(found, rates, atol=0.02, rtol=0)


def test_the_mean_number_of_active_features_is_as_set_if_no_rate_is_capped():
    assert float(Planted().truth()["rates"].sum()) == pytest.approx(6.0, rel=0.1)


def test_noise_has_the_standard_deviation_that_is_set():
    silent = replace(WORLD, active=0.0, noise=0.05)
    base, chat = silent.sample(5000, "train").values()
    assert float(base.std()) == pytest.approx(0.05, rel=0.05)
    assert not torch.equal(base, chat)


def test_splits_differ_and_the_seed_decides_each():
    train, again, heldout = (
        WORLD.sample(50, split)["base"] for split in ("train", "train", "heldout")
    )
    assert torch.equal(train, again)
    assert not torch.allclose(train, heldout)


def test_stores_are_written_once_and_hold_the_truth(tiny_pair, tmp_path, monkeypatch):
    def stores():
        return WORLD.make_splits(
            tiny_pair, [], None, Harvest(tmp_path), {"train": 100, "validation": 10, "heldout": 50}
        )

    splits = stores()
    assert (len(splits.train), len(splits.heldout)) == (100, 50)
    assert splits.sources.diff_pair == ("chat", "base")
    base, chat = WORLD.sample(100, "train").values()
    assert torch.equal(splits.train.acts(0, ["base", "chat"]), torch.cat([base, chat], dim=1))
    assert (splits.train.tokens(0).kind == Kind.PLAIN).all()
    assert torch.equal(read_truth(splits.train)["directions"], WORLD.truth()["directions"])
    monkeypatch.setattr(Planted, "sample", None)
    assert stores().train.folder == splits.train.folder


@pytest.mark.faults
@pytest.mark.parametrize("part", ["train", "validation", "heldout"])
@pytest.mark.parametrize("n", [0, -5, 1.5, "many", True])
def test_an_invalid_number_of_tokens_creates_no_folder(tiny_pair, tmp_path, part, n, unchecked):
    sizes = {"train": 100, "validation": 10, "heldout": 50} | {part: n}
    with pytest.raises(UserError, match=f"{part} needs a whole number of tokens from 1, not {n!r}"):
        WORLD.make_splits(tiny_pair, [], None, Harvest(tmp_path / "stores"), sizes)
    assert not (tmp_path / "stores").exists()


def test_another_world_is_another_store(tiny_pair, tmp_path):
    folders = {
        world.make_splits(
            tiny_pair, [], None, Harvest(tmp_path), {"train": n, "validation": 10, "heldout": 50}
        ).train.folder
        for world, n in ((WORLD, 100), (WORLD, 200), (replace(WORLD, seed=1), 100))
    }
    assert len(folders) == 3


def test_streams_in_between_have_their_fraction_of_what_finetuning_changed():
    world = Planted(
        width=256,
        shared=4,
        base_only=4,
        chat_only=12,
        rotated=8,
        active=3.0,
        between={"sft": 0.5},
        noise=0,
    )
    truth, streams = world.truth(), world.sample(4000, "train")
    assert list(streams) == ["base", "chat", "sft"]
    tuned = truth["tuned/sft"]
    assert 0 < tuned[4:].sum() < 24
    base, chat = world.sample_strengths(4000, "train")
    by_hand = sum(
        (chat if tuned[i] else base)[:, i, None]
        * truth["chat_directions" if tuned[i] else "directions"][i]
        for i in range(28)
    )
    torch.testing.assert_close(streams["sft"], by_hand)


def test_streams_in_between_are_stored_in_order_and_do_not_change_the_others(tiny_pair, tmp_path):
    sizes = {"train": 50, "validation": 50, "heldout": 50}
    plain, more = (
        Planted(between=between).make_splits(tiny_pair, [], None, Harvest(tmp_path), sizes)
        for between in ({}, {"early": 0.25, "late": 0.75})
    )
    assert more.sources.names == ("base", "early", "late", "chat")
    for name in ("base", "chat"):
        assert torch.equal(plain.train.acts(0, [name]), more.train.acts(0, [name]))


@pytest.mark.parametrize("between", [{"base": 0.5}, {"sft": 1.5}])
def test_invalid_streams_in_between_are_refused(between):
    with pytest.raises(UserError, match=f"data.between .* not {next(iter(between))}"):
        Planted(between=between)


def test_a_crosscoder_of_the_same_seed_is_not_initialised_with_the_truth():
    world = Planted(seed=0)
    _, W_dec = TransposedDecoder()(sources_of(64, 64), 120, torch.Generator().manual_seed(0))
    cosines = world.truth()["directions"] @ W_dec[:, :64].T
    assert cosines.max() < 0.7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "data.width is a whole number from 1, not 0"),
        ({"factors": 0}, "data.factors is a whole number from 1, not 0"),
        ({"overlap": 1.5}, "data.overlap is a number from 0 to 1, not 1.5"),
        ({"correlation": -0.1}, "data.correlation is a number from 0 to 1, not -0.1"),
        ({"children": 2}, "data.children is a number from 0 to 1, not 2"),
        ({"exponent": -1.0}, "data.exponent is a number from 0, not -1.0"),
        ({"spread": -1.0}, "data.spread is a number from 0, not -1.0"),
        ({"noise": -1.0}, "data.noise is a number from 0, not -1.0"),
        ({"active": -1.0}, "data.active is a number from 0, not -1.0"),
        ({"shared": 0, "base_only": 0, "chat_only": 0}, "a planted world has features"),
    ],
)
def test_a_world_out_of_range_is_refused(settings, message):
    with pytest.raises(UserError, match=f"^{message}"):
        Planted(**settings)
