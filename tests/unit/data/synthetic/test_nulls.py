"""Null controls preserve the documented properties of a pair, and no others."""

import pytest
import torch

from crosscoder.core.types import Kind
from crosscoder.data import Mixing, Store
from crosscoder.data.exclude import EXCLUDE
from crosscoder.data.synthetic.nulls import make_noise, make_shuffle
from crosscoder.data.synthetic.transforms import TransformedStore
from tests.helpers.small import store_of

N, WIDTH, COUNTS = 6000, 8, [2500, 2500, 1000]
DIFF_PAIR = ("chat", "base")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(N, WIDTH, generator=generator) * 4
    size = 0.2 + torch.rand(N, 1, generator=generator)
    spectrum = torch.tensor([1.0, 0.5, 0.2, *[0.1] * (WIDTH - 3)])
    chat = base + size * spectrum * torch.randn(N, WIDTH, generator=generator)
    kind = torch.where(torch.arange(N) % 10 == 0, Kind.SPECIAL, Kind.PLAIN)
    return store_of(tmp_path_factory.mktemp("store"), {"base": base, "chat": chat}, COUNTS, kind)


def streams(store: Store) -> tuple[torch.Tensor, torch.Tensor]:
    """Read (base, chat) of all shards."""
    return tuple(
        torch.cat([store.acts(shard, [name]) for shard in store]) for name in ("base", "chat")
    )  # type: ignore[return-value]


def difference(store: Store) -> torch.Tensor:
    base, chat = streams(store)
    return chat - base


def test_noise_has_every_tokens_own_norm_and_leaves_the_base_alone(store):
    null = TransformedStore(store, make_noise(store, DIFF_PAIR), seed=0)
    assert torch.equal(streams(null)[0], streams(store)[0])
    torch.testing.assert_close(
        difference(null).norm(dim=1), difference(store).norm(dim=1), rtol=1e-3, atol=1e-4
    )


def test_noise_has_the_spectrum_of_the_unit_differences_and_no_relation_to_them(store):
    null = TransformedStore(store, make_noise(store, DIFF_PAIR), seed=0)
    units = [torch.nn.functional.normalize(difference(of), dim=1) for of in (store, null)]
    spectra = [torch.linalg.eigvalsh(unit.T @ unit / N) for unit in units]
    torch.testing.assert_close(spectra[0], spectra[1], atol=0.02, rtol=0.1)
    assert abs(float((units[0] * units[1]).sum(1).mean())) < 0.02
    base = torch.nn.functional.normalize(streams(store)[0], dim=1)
    assert abs(float((base * units[1]).sum(1).mean())) < 0.02


def test_excluded_tokens_are_not_transformed(tmp_path):
    acts = {name: torch.randn(200, WIDTH) for name in DIFF_PAIR}
    acts["chat"][::50] *= 100
    store = store_of(tmp_path / "s", acts, [200])
    store.meta["contrast"] = list(DIFF_PAIR)
    null = TransformedStore(store, make_shuffle(DIFF_PAIR), seed=0)
    assert torch.equal(null.acts(0, ["chat"])[::50], acts["chat"][::50])
    assert torch.equal(
        null.find_eligible(0, ["chat"], EXCLUDE), store.find_eligible(0, ["chat"], EXCLUDE)
    )
    every = TransformedStore(store, make_shuffle(DIFF_PAIR), seed=0, exclude=["special"])
    assert not torch.equal(every.acts(0, ["chat"])[::50], acts["chat"][::50])


def test_shuffling_keeps_each_shards_tokens_and_special_ones_in_place(store):
    null = TransformedStore(store, make_shuffle(DIFF_PAIR), seed=0)
    for shard in store:
        before, after = (of.acts(shard, ["chat"]) for of in (store, null))
        special = store.tokens(shard).kind == Kind.SPECIAL
        assert torch.equal(before[special], after[special])
        assert torch.equal(before.sort(dim=0).values, after.sort(dim=0).values)
        assert (before[~special] != after[~special]).any(1).float().mean() > 0.99


def test_the_seed_decides_the_transformed_activations(store):
    change = make_noise(store, DIFF_PAIR)
    one, again, other = (
        TransformedStore(store, change, 0),
        TransformedStore(store, change, 0),
        TransformedStore(store, change, 1),
    )
    assert torch.equal(streams(one)[1], streams(again)[1])
    assert torch.equal(one.acts(1, ["chat"]), streams(again)[1][COUNTS[0] : COUNTS[0] + COUNTS[1]])
    assert not torch.equal(streams(one)[1], streams(other)[1])
    assert not torch.equal(difference(one)[:1000], difference(one)[2500:3500])


def test_training_reads_a_transformed_store_like_any_store(store):
    null = TransformedStore(store, make_shuffle(DIFF_PAIR), seed=0)
    batch = next(Mixing(null, store.sources).iter_batches(64))
    assert batch.shape == (64, 2 * WIDTH)
    assert batch.dtype == torch.float32
