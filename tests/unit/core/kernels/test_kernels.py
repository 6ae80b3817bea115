"""Every kernel backend against loops, and the selection of a backend."""

import importlib
import importlib.util
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from crosscoder.core import kernels
from crosscoder.errors import UserError

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton has no build here"
)
every_module = pytest.mark.parametrize(
    "name", ["embedding", pytest.param("triton", marks=needs_triton)]
)
WIDTHS = [1, 5, 64, 1030]
STARTS = [[0, 0], [0, 3, 3, 4, 9], [0, 9], [0, 0, 9, 9]]


@pytest.fixture(autouse=True)
def chosen_anew() -> Iterator[None]:
    kernels.requested_backend.cache_clear()
    kernels.get_backend.cache_clear()
    yield
    kernels.requested_backend.cache_clear()
    kernels.get_backend.cache_clear()


def entries(starts: list[int], width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ids, starts, weights and a table of 6 rows."""
    nnz = starts[-1]
    return (
        torch.randint(0, 6, (nnz,)),
        torch.tensor(starts),
        torch.randn(nnz),
        torch.randn(6, width),
    )


@every_module
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("starts", STARTS)
def test_bag_is_a_weighted_sum_of_rows(name, starts, width):
    ids, begin, weights, table = entries(starts, width)
    expected = torch.zeros(len(starts) - 1, width)
    for b in range(len(starts) - 1):
        for e in range(starts[b], starts[b + 1]):
            expected[b] += weights[e] * table[ids[e]]
    module = importlib.import_module(f"crosscoder.core.kernels.{name}")
    torch.testing.assert_close(module.bag(ids, begin, weights, table), expected)


@every_module
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("starts", STARTS)
def test_dots_are_products_of_rows(name, starts, width):
    ids, begin, _, table = entries(starts, width)
    acts, bags = torch.randn(len(starts) - 1, width), torch.repeat_interleave(begin.diff())
    expected = torch.tensor(
        [float(acts[b] @ table[i]) for b, i in zip(bags.tolist(), ids.tolist(), strict=True)]
    )
    module = importlib.import_module(f"crosscoder.core.kernels.{name}")
    torch.testing.assert_close(
        module.dots(ids, begin, bags, acts, table), expected, atol=1e-4, rtol=1e-4
    )


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
