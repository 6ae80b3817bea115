"""Null controls keep of a pair what they say they keep, and nothing else."""

import pytest
import torch

from crosscoder.data import Mixing, Store
from crosscoder.data.changed import Changed
from crosscoder.data.nulls import Plant, noise, shuffled
from crosscoder.types import Kind
from tests.small import store_of

N, WIDTH, COUNTS = 6000, 8, [2500, 2500, 1000]
CONTRAST = ("chat", "base")


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
    """(base, chat), all shards."""
    return tuple(torch.cat([store.acts(shard, [name]) for shard in store]) for name in ("base", "chat"))  # type: ignore[return-value]


def difference(store: Store) -> torch.Tensor:
    base, chat = streams(store)
    return chat - base


def test_noise_has_every_tokens_own_norm_and_leaves_the_base_alone(store):
    null = Changed(store, noise(store, CONTRAST), seed=0)
    assert torch.equal(streams(null)[0], streams(store)[0])
    torch.testing.assert_close(difference(null).norm(dim=1), difference(store).norm(dim=1), rtol=1e-3, atol=1e-4)


def test_noise_has_the_spectrum_of_the_unit_differences_and_no_relation_to_them(store):
    null = Changed(store, noise(store, CONTRAST), seed=0)
    units = [torch.nn.functional.normalize(difference(of), dim=1) for of in (store, null)]
    spectra = [torch.linalg.eigvalsh(unit.T @ unit / N) for unit in units]
    torch.testing.assert_close(spectra[0], spectra[1], atol=0.02, rtol=0.1)
    assert abs(float((units[0] * units[1]).sum(1).mean())) < 0.02
    base = torch.nn.functional.normalize(streams(store)[0], dim=1)
    assert abs(float((base * units[1]).sum(1).mean())) < 0.02


def test_shuffling_keeps_each_shards_tokens_and_special_ones_in_place(store):
    null = Changed(store, shuffled(CONTRAST), seed=0)
    for shard in store:
        before, after = (of.acts(shard, ["chat"]) for of in (store, null))
        special = store.tokens(shard).kind == Kind.SPECIAL
        assert torch.equal(before[special], after[special])
        assert torch.equal(before.sort(dim=0).values, after.sort(dim=0).values)
        assert (before[~special] != after[~special]).any(1).float().mean() > 0.99


def test_a_plant_is_added_to_one_source_with_its_rates_and_sizes(store):
    spreads = torch.tensor([0.2, 0.5, 0.1])
    plant = Plant("chat", torch.eye(WIDTH)[:3], torch.tensor([0.5, 0.1, 0.01]), torch.tensor([2.0, 5.0, 50.0]), spreads)
    null = Changed(store, plant, seed=0)
    added = streams(null)[1] - streams(store)[1]
    assert torch.equal(streams(null)[0], streams(store)[0])
    special = torch.cat([store.tokens(shard).kind for shard in store]) == Kind.SPECIAL
    assert (added[special] == 0).all()
    torch.testing.assert_close((added[~special, :3] > 1e-3).float().mean(0), plant.rates, atol=0.03, rtol=0)
    assert (added[:, 3:].abs() < 1e-4).all()
    for i in range(3):
        on = added[added[:, i] > 1e-3, i]
        assert float(on.mean()) == pytest.approx(float(plant.sizes[i]), rel=0.15)
        assert float(on.std() / on.mean()) == pytest.approx(float(spreads[i]), rel=0.25)


def test_plants_are_like_latents_of_much_energy(store):
    rates, sizes, spreads = torch.rand(400).double() * 0.1, torch.rand(400).double(), torch.rand(400).double()
    plant = Plant.like("chat", WIDTH, rates, sizes, spreads, 50, seed=0)
    assert len(plant.rates) == 50
    torch.testing.assert_close(plant.directions.norm(dim=1), torch.ones(50))
    like = set(zip(*(x.float().tolist() for x in (rates, sizes, spreads)), strict=True))
    assert set(zip(plant.rates.tolist(), plant.sizes.tolist(), plant.spreads.tolist(), strict=True)) <= like
    assert float((plant.rates * plant.sizes.square()).mean()) > float((rates * sizes.square()).mean())


def test_it_is_the_same_on_every_reading_and_another_with_another_seed(store):
    change = noise(store, CONTRAST)
    one, again, other = Changed(store, change, 0), Changed(store, change, 0), Changed(store, change, 1)
    assert torch.equal(streams(one)[1], streams(again)[1])
    assert torch.equal(one.acts(1, ["chat"]), streams(again)[1][COUNTS[0] : COUNTS[0] + COUNTS[1]])
    assert not torch.equal(streams(one)[1], streams(other)[1])
    assert not torch.equal(difference(one)[:1000], difference(one)[2500:3500])


def test_training_reads_it_like_any_store(store):
    null = Changed(store, shuffled(CONTRAST), seed=0)
    batch = next(Mixing(null, store.sources).batches(64))
    assert batch.shape == (64, 2 * WIDTH)
    assert batch.dtype == torch.float32
