"""Planted features: each kind is in the sources as it says, with the rates and sizes it copies."""

import pytest
import torch

from crosscoder.data.synthetic.plants import (
    CORRELATED,
    EXCLUSIVE,
    KINDS,
    OVERLAP,
    RESCALED,
    ROTATED,
    SHIFTED,
    SPLIT,
    WHERE_ACTIVE,
    Plants,
    Profiles,
    Readers,
)

WIDTH = 24
N_TOKENS = 40_000
PAIR = ("chat", "base")
PROFILES = Profiles(
    torch.tensor([0.3, 0.15]),
    torch.tensor([2.0, 5.0]),
    torch.tensor([0.2, 0.4]),
    torch.tensor([7, 3]),
)


@pytest.fixture(scope="module")
def streams() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(N_TOKENS, WIDTH, generator=generator) for name in ("base", "chat")}


@pytest.fixture(scope="module")
def plants(streams) -> Plants:
    # the first number of either source is the pre-activation; active on 30 % and 15 % of the tokens
    W_enc = torch.zeros(2, 2 * WIDTH)
    W_enc[0, 0] = 1
    W_enc[1, WIDTH] = 1
    acts = torch.cat([streams["base"], streams["chat"]], dim=1)
    cuts = torch.stack([acts[:, 0].quantile(0.7), acts[:, WIDTH].quantile(0.85)])
    readers = Readers(("base", "chat"), W_enc, torch.zeros(2), cuts)
    return Plants.make(PAIR, WIDTH, PROFILES, readers, seed=1)


@pytest.fixture(scope="module")
def strengths(plants, streams) -> tuple[torch.Tensor, torch.Tensor]:
    eligible = torch.ones(N_TOKENS, dtype=torch.bool)
    return plants.draw(streams, eligible, torch.Generator().manual_seed(2))


def test_every_profile_has_features_of_every_kind(plants):
    for number in range(len(KINDS)):
        members = plants.profile[plants.kinds == number]
        assert members.bincount(minlength=2).unique().numel() == 1
    for source in range(2):  # exclusive features of every profile are in either source
        is_in = (plants.kinds == EXCLUSIVE) & (plants.gains[source] == 1)
        assert sorted(plants.profile[is_in].tolist()) == [0, 1]
    assert (plants.gains[:, plants.kinds == EXCLUSIVE].sum(0) == 1).all()


def test_rates_and_sizes_are_those_of_the_profiles(plants, strengths):
    first, second = strengths
    expected = plants.profiles.rates
    fixed = plants.kinds != SHIFTED
    torch.testing.assert_close(
        (first[:, fixed] > 0).float().mean(0), expected[fixed], atol=0.012, rtol=0
    )
    for number in fixed.nonzero()[:, 0].tolist():
        sizes = first[first[:, number] > 0, number]
        assert float(sizes.mean()) == pytest.approx(float(plants.profiles.sizes[number]), rel=0.05)
        spread = float(sizes.std() / sizes.mean())
        assert spread == pytest.approx(float(plants.profiles.spreads[number]), rel=0.15)
    assert torch.equal(first[:, fixed], second[:, fixed])


def test_rescaled_features_are_weaker_in_one_source_by_gains_from_5_percent_to_1(plants):
    gains = plants.gains[:, plants.kinds == RESCALED]
    assert (gains.amax(0) == 1).all()
    weak = gains.amin(0)
    assert float(weak.min()) > 0.05
    assert float(weak.max()) <= 1
    # evenly log-uniform: one in each twelfth of the range
    place = (weak.log() / torch.tensor(0.05).log() * len(weak)).floor()
    assert sorted(place.tolist()) == list(range(len(weak)))


def test_directions_are_equal_in_both_sources_but_for_rotated_features(plants):
    first, second = plants.directions
    torch.testing.assert_close(first.norm(dim=1), torch.ones(len(plants)))
    is_rotated = plants.kinds == ROTATED
    assert torch.equal(first[~is_rotated], second[~is_rotated])
    assert ((first * second).sum(1)[is_rotated].abs() < 0.8).all()


def test_shifted_features_are_in_both_sources_on_half_of_their_tokens(plants, strengths):
    in_first, in_second = (strength[:, plants.kinds == SHIFTED] > 0 for strength in strengths)
    either = (in_first | in_second).float().mean(0)
    both = (in_first & in_second).float().mean(0)
    torch.testing.assert_close(both / either, torch.full_like(both, OVERLAP), atol=0.03, rtol=0)


def test_one_variant_of_a_split_feature_is_active_at_a_time(plants, strengths):
    is_split = plants.kinds == SPLIT
    for profile in range(2):
        variants = strengths[0][:, is_split & (plants.profile == profile)] > 0
        assert variants.shape[1] == 3
        assert int(variants.sum(1).max()) == 1
        directions = plants.directions[0][is_split & (plants.profile == profile)]
        cosines = directions @ directions.T
        off = cosines[~torch.eye(3, dtype=torch.bool)]
        assert 0.3 < float(off.mean()) < 0.9


def test_correlated_features_are_active_where_their_latent_is(plants, strengths, streams):
    is_correlated = plants.kinds == CORRELATED
    active = strengths[0][:, is_correlated] > 0
    is_read = plants.readers.find_active(streams)
    assert not (active & ~is_read).any()
    where = active.sum(0) / is_read.sum(0)
    torch.testing.assert_close(where, torch.full_like(where, WHERE_ACTIVE), atol=0.02, rtol=0)


def test_a_transform_adds_what_was_drawn_and_leaves_other_tokens_alone(plants, streams):
    eligible = torch.arange(N_TOKENS) % 3 > 0
    planted = plants(streams, eligible, torch.Generator().manual_seed(5))
    drawn = plants.draw(streams, eligible, torch.Generator().manual_seed(5))
    for number, name in enumerate(PAIR):
        writes = torch.zeros(N_TOKENS, WIDTH, dtype=torch.float64)
        for feature in range(len(plants)):
            size = drawn[number][:, feature].double() * plants.gains[number, feature].double()
            writes += size[:, None] * plants.directions[number, feature].double()
        torch.testing.assert_close(
            planted[name].double(), streams[name] + writes, atol=1e-4, rtol=1e-5
        )
        assert torch.equal(planted[name][~eligible], streams[name][~eligible])


def test_profiles_are_drawn_without_repetition():
    profiles = Profiles(torch.rand(9), torch.rand(9), torch.rand(9), torch.arange(9))
    drawn = profiles.draw(5, seed=0)
    assert len(set(drawn.latents.tolist())) == 5
    assert torch.equal(drawn.rates, profiles.rates[drawn.latents])
    assert len(profiles.draw(20, seed=0)) == 9
