"""Every kernel backend against loops, and the selection of a backend."""

import importlib
import importlib.util
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from crosscoder.core import kernels
from crosscoder.errors import UserError
from tests.helpers.devices import interpreted, on_cuda

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton has no build here"
)
every_backend = pytest.mark.parametrize(
    ("name", "device"),
    [
        ("embedding", "cpu"),
        pytest.param("triton", "cpu", marks=[needs_triton, interpreted]),
        pytest.param("embedding", "cuda", marks=on_cuda),
        pytest.param("triton", "cuda", marks=[needs_triton, *on_cuda]),
    ],
)
every_dtype = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str
)
WIDTHS = [1, 5, 64, 1030]
STARTS = [[0, 0], [0, 3, 3, 4, 9], [0, 9], [0, 0, 9, 9]]
N_ROWS = 6


@pytest.fixture(autouse=True)
def chosen_anew() -> Iterator[None]:
    kernels.requested_backend.cache_clear()
    kernels.get_backend.cache_clear()
    yield
    kernels.requested_backend.cache_clear()
    kernels.get_backend.cache_clear()


def bags_of(starts: list[int], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the row of `table` and the bag of each entry, and the starts."""
    begin = torch.tensor(starts)
    ids = torch.randint(0, N_ROWS, (starts[-1],))
    return ids.to(device), torch.repeat_interleave(begin.diff()).to(device), begin.to(device)


def require_close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Compare with a result in float64; the interpreter rounds to bfloat16 by cutting off."""
    tolerance = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float64: 1e-10}[dtype]
    assert found.dtype == dtype
    torch.testing.assert_close(found.double().cpu(), expected, atol=tolerance, rtol=tolerance)


def sum_bags(ids: Tensor, bags: Tensor, weights: Tensor, table: Tensor, n_bags: int) -> Tensor:
    """Return the weighted sums of rows in float64, by a loop."""
    expected = torch.zeros(n_bags, table.shape[1], dtype=torch.float64)
    for i, bag, weight in zip(ids.tolist(), bags.tolist(), weights.tolist(), strict=True):
        expected[bag] += weight * table[i].double().cpu()
    return expected


@every_backend
@every_dtype
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("starts", STARTS)
def test_bag_is_a_weighted_sum_of_rows(name, device, dtype, width, starts):
    module = importlib.import_module(f"crosscoder.core.kernels.{name}")
    ids, bags, begin = bags_of(starts, device)
    weights = torch.randn(len(ids)).to(device, dtype)
    table = torch.randn(N_ROWS, width).to(device, dtype)
    expected = sum_bags(ids, bags, weights, table, len(starts) - 1)
    require_close(module.bag(ids, begin, weights, table), expected, dtype)


@every_backend
@every_dtype
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("starts", STARTS)
def test_dots_are_products_of_rows(name, device, dtype, width, starts):
    module = importlib.import_module(f"crosscoder.core.kernels.{name}")
    ids, bags, begin = bags_of(starts, device)
    acts = torch.randn(len(starts) - 1, width).to(device, dtype)
    table = torch.randn(N_ROWS, width).to(device, dtype)
    products = acts.double()[bags] * table.double()[ids]
    require_close(module.dots(ids, begin, bags, acts, table), products.sum(-1).cpu(), dtype)


@every_backend
def test_inputs_need_not_be_contiguous(name, device):
    module = importlib.import_module(f"crosscoder.core.kernels.{name}")
    ids, bags, begin = bags_of(STARTS[1], device)
    weight = torch.tensor(2.0, device=device).expand(len(ids))  # the gradient of a sum
    table = torch.randn(2 * N_ROWS, 8, device=device)[::2, ::2]
    acts = torch.randn(4, len(begin) - 1, device=device).T
    expected = sum_bags(ids, bags, weight, table, len(begin) - 1)
    require_close(module.bag(ids, begin, weight, table), expected, torch.float32)
    products = (acts.double()[bags] * table.double()[ids]).sum(-1).cpu()
    require_close(module.dots(ids, begin, bags, acts, table), products, torch.float32)


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=[needs_triton, *on_cuda])])
def test_a_table_may_have_more_than_two_billion_numbers(device):
    from crosscoder.core.kernels import triton

    width = 4608
    n_rows = 2**31 // width + 8
    table = torch.empty(n_rows, width, dtype=torch.bfloat16, device=device)
    ids = torch.tensor([0, n_rows - 1], device=device)
    table[ids] = torch.randn(2, width, device=device).bfloat16()
    starts, weights = torch.tensor([0, 2], device=device), torch.ones(2, device=device)
    expected = table[ids].double().sum(0)[None].cpu()
    require_close(triton.bag(ids, starts, weights, table), expected, torch.bfloat16)
    acts, bags = torch.ones(1, width, device=device).bfloat16(), torch.zeros_like(ids)
    found = triton.dots(ids, starts, bags, acts, table)
    require_close(found, table[ids].double().sum(1).cpu(), torch.bfloat16)


def test_the_cpu_uses_the_embedding_backend():
    assert kernels.get_backend("cpu").__name__ == "crosscoder.core.kernels.embedding"
    assert not kernels.is_reference()


@needs_triton
def test_cuda_uses_the_triton_backend():
    assert kernels.get_backend("cuda").__name__ == "crosscoder.core.kernels.triton"


@pytest.mark.parametrize("name", ["embedding", pytest.param("triton", marks=needs_triton)])
def test_the_environment_selects_the_backend(name, monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, name)
    assert (
        kernels.get_backend("cpu").__name__
        == kernels.get_backend("cuda").__name__
        == f"crosscoder.core.kernels.{name}"
    )


@needs_triton
def test_triton_on_a_cpu_is_refused_without_its_interpreter(monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(
        UserError, match="triton needs triton and a CUDA device, but tensors are on the cpu"
    ):
        kernels.get_backend("cpu")


def test_an_unknown_backend_is_refused(monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "fast")
    with pytest.raises(
        UserError, match="CROSSCODER_KERNELS is embedding, triton, reference or unset, not 'fast'"
    ):
        kernels.get_backend("cpu")
