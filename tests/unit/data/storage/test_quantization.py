"""8-bit activations: how much is lost, and that they are read like exact ones."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosscoder.data import Harvest, Mixing, Scale, Store
from crosscoder.data.storage.quantization import dequantize, quantize
from crosscoder.errors import UserError
from tests.unit.data.test_harvest import harvested


def make_gemma_like_acts(n: int = 2000, width: int = 64) -> torch.Tensor:
    """Make activations like those of Gemma.

    One dimension holds most of the norm, and has a mean. Some tokens have a hundred times the norm
    of the others.
    """
    x = torch.randn(n, width, generator=torch.Generator().manual_seed(0))
    x[:, 7] = 40 * x[:, 7] + 300
    x[::256] *= 100
    return x.bfloat16()


def test_content_tokens_lose_little_variance_in_any_dimension():
    x = make_gemma_like_acts()
    again = dequantize(quantize(x), torch.float32)
    is_content = torch.arange(len(x)) % 256 != 0
    error, kept = (again - x.float())[is_content].double(), x[is_content].double()
    lost = error.square().sum(0) / (kept - kept.mean(0)).square().sum(0)
    assert lost.max() < 1e-3
    assert (error.square().sum() / (kept - kept.mean(0)).square().sum()) < 5e-4


@given(st.integers(1, 20), st.integers(1, 9), st.floats(1e-6, 1e6), st.integers(0, 99))
def test_the_error_of_a_value_is_at_most_half_a_step(n, width, size, seed):
    x = size * torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    quantized = quantize(x)
    step = quantized["token"][:, None] * quantized["dimension"]
    assert (
        (dequantize(quantized, torch.float32) - x).abs() <= 0.51 * step + 1e-5 * x.abs().max()
    ).all()


@pytest.mark.parametrize("x", [torch.zeros(3, 4), torch.ones(3, 4), torch.full((1, 2), -5.0)])
def test_constant_values_are_exact(x):
    torch.testing.assert_close(dequantize(quantize(x), torch.float32), x)


@pytest.mark.long
def test_a_quantized_store_is_half_as_large_and_read_like_any_other(tmp_path, tiny_pair):
    exact = Harvest(tmp_path / "stores", batch_tokens=32, shard_tokens=64)
    pair = tiny_pair
    whole, small = (harvested(replace(exact, storage=kind), pair) for kind in ("exact", "int8"))
    assert whole.folder != small.folder
    a, b = (
        torch.cat([store.acts(shard, ["chat", "base"]) for shard in store])
        for store in (whole, small)
    )
    assert a.dtype == b.dtype
    assert (a - b).square().sum() / (a - a.mean(0)).square().sum() < 1e-3
    size = {
        store: sum(file.stat().st_size for file in store.folder.glob("*.chat.*"))
        for store in (whole, small)
    }
    assert size[small] < 0.4 * size[whole]  # these are float32
    assert torch.equal(
        small.acts(1, ["base"], torch.tensor([5, 2])), small.acts(1, ["base"])[[5, 2]]
    )
    assert torch.equal(
        Store(small.folder).acts(0, ["chat-base"]),
        small.acts(0, ["chat"]) - small.acts(0, ["base"]),
    )
    assert len(next(Mixing(small, small.sources).iter_batches(16))) == 16
    mean, scale = Scale().fit(small, small.sources)
    assert mean.isfinite().all()
    assert (scale > 0).all()


def test_a_second_run_reuses_a_quantized_store(tmp_path, tiny_pair, monkeypatch):
    harvest = Harvest(tmp_path / "stores", batch_tokens=32, shard_tokens=64, storage="int8")
    first = harvested(harvest, tiny_pair)
    monkeypatch.setattr("crosscoder.data.forward.read", None)
    assert harvested(harvest, tiny_pair).folder == first.folder


def test_an_unknown_storage_is_refused(tmp_path, unchecked):
    with pytest.raises(UserError, match=r"harvest\.storage is exact or int8, not 'int4'"):
        Harvest(tmp_path, storage="int4")
