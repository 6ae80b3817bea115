"""Half precision is used only where the device multiplies it fast."""

import pytest
import torch

from crosscoder import load_pair
from crosscoder.core import arithmetic
from crosscoder.core.activations.topk import TopK
from crosscoder.core.arithmetic import choose_product_dtype, choose_sum_device
from crosscoder.core.model import Crosscoder
from crosscoder.lm import Pair
from tests.helpers.small import sources_of

HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture(params=[True, False], ids=["fast", "slow"])
def is_fast(request, monkeypatch) -> bool:
    monkeypatch.setattr(arithmetic, "has_fast_products", lambda dtype: request.param)
    return request.param


@pytest.mark.parametrize("dtype", HALVES)
def test_a_cpu_without_fast_half_precision_multiplies_float32(dtype, is_fast):
    assert choose_product_dtype(dtype, "cpu") == (dtype if is_fast else torch.float32)
    assert choose_product_dtype(dtype, "cuda") == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_full_precision_stays(dtype, is_fast):
    assert choose_product_dtype(dtype, "cpu") == dtype


@pytest.mark.parametrize("dtype", HALVES)
def test_this_machine_is_measured(dtype):
    assert isinstance(arithmetic.has_fast_products(dtype), bool)


def test_training_multiplies_in_the_chosen_dtype(is_fast):
    crosscoder = Crosscoder(sources_of(4, 4), 8, TopK(2)).train()
    assert crosscoder.product_dtype == (torch.bfloat16 if is_fast else torch.float32)
    assert crosscoder.eval().product_dtype == torch.float32


def test_a_model_keeps_its_rounded_weights_whatever_it_computes_in(is_fast):
    spec = load_pair("tiny").spec()
    pair = Pair.from_spec(spec | {"dtype": "bfloat16"})
    exact = Pair.from_spec(spec | {"dtype": "float32"})["chat"].state_dict()
    weights = pair["chat"].state_dict()
    expected = torch.bfloat16 if is_fast else torch.float32
    for name, weight in weights.items():
        assert weight.dtype == expected
        torch.testing.assert_close(weight.float(), exact[name].bfloat16().float(), rtol=0, atol=0)
    reading = pair.read(["a b c"])
    assert reading.acts.isfinite().all()
    assert pair.dtype == torch.bfloat16


@pytest.mark.parametrize(("device", "expected"), [("cuda", "cuda"), ("cpu", "cpu"), ("mps", "cpu")])
def test_evals_add_up_on_a_device_with_float64(device, expected):
    assert choose_sum_device(torch.device(device)) == torch.device(expected)
