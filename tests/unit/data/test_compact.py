"""One byte per number: how much is lost, and that everything else reads such a store like any other."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosscoder.data import Harvest, Mixing, Scale, Store
from crosscoder.data.compact import compact, restored
from crosscoder.errors import UserError
from tests.unit.data.test_harvest import harvested


def acts_like_gemmas(n: int = 2000, width: int = 64) -> torch.Tensor:
    """One dimension holds most of the norm, and has a mean; the first token's norm is a hundred times the others'."""
    x = torch.randn(n, width, generator=torch.Generator().manual_seed(0))
    x[:, 7] = 40 * x[:, 7] + 300
    x[::256] *= 100
    return x.bfloat16()


def test_of_ordinary_tokens_little_variance_is_lost_in_any_dimension():
    x = acts_like_gemmas()
    again = restored(compact(x), torch.float32)
    ordinary = torch.arange(len(x)) % 256 != 0
    error, kept = (again - x.float())[ordinary].double(), x[ordinary].double()
    lost = error.square().sum(0) / (kept - kept.mean(0)).square().sum(0)
    assert lost.max() < 1e-3
    assert (error.square().sum() / (kept - kept.mean(0)).square().sum()) < 5e-4


@given(st.integers(1, 20), st.integers(1, 9), st.floats(1e-6, 1e6), st.integers(0, 99))
def test_no_value_is_off_by_more_than_half_a_step(n, width, size, seed):
    x = size * torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    packed = compact(x)
    step = packed["token"][:, None] * packed["dimension"]
    assert ((restored(packed, torch.float32) - x).abs() <= 0.51 * step + 1e-5 * x.abs().max()).all()


@pytest.mark.parametrize("x", [torch.zeros(3, 4), torch.ones(3, 4), torch.full((1, 2), -5.0)])
def test_what_does_not_vary_is_exact(x):
    torch.testing.assert_close(restored(compact(x), torch.float32), x)


def test_a_store_of_it_is_half_as_large_and_read_like_any_other(tmp_path, tiny_pair):
    exact = Harvest(tmp_path / "stores", batch_tokens=32, shard_tokens=64)
    pair = tiny_pair
    whole, small = (harvested(replace(exact, storage=kind), pair) for kind in ("exact", "int8"))
    assert whole.folder != small.folder
    a, b = (torch.cat([store.acts(shard, ["chat", "base"]) for shard in store]) for store in (whole, small))
    assert a.dtype == b.dtype
    assert (a - b).square().sum() / (a - a.mean(0)).square().sum() < 1e-3
    size = {store: sum(file.stat().st_size for file in store.folder.glob("*.chat.*")) for store in (whole, small)}
    assert size[small] < 0.4 * size[whole]  # these are float32
    assert torch.equal(small.acts(1, ["base"], torch.tensor([5, 2])), small.acts(1, ["base"])[[5, 2]])
    assert torch.equal(Store(small.folder).acts(0, ["chat-base"]), small.acts(0, ["chat"]) - small.acts(0, ["base"]))
    assert len(next(Mixing(small, small.sources).batches(16))) == 16
    mean, scale = Scale().fit(small, small.sources)
    assert mean.isfinite().all()
    assert (scale > 0).all()


def test_a_second_run_finds_it(tmp_path, tiny_pair, monkeypatch):
    harvest = Harvest(tmp_path / "stores", batch_tokens=32, shard_tokens=64, storage="int8")
    first = harvested(harvest, tiny_pair)
    monkeypatch.setattr("crosscoder.data.harvest.read", None)
    assert harvested(harvest, tiny_pair).folder == first.folder


def test_another_kind_is_refused(tmp_path, unchecked):
    with pytest.raises(UserError, match=r"harvest\.storage is exact or int8, not 'int4'"):
        Harvest(tmp_path, storage="int4")
