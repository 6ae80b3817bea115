"""Every kernel backend against loops, and the selection of a backend."""

import importlib
import importlib.util
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from crosscoder.core import kernels
from crosscoder.core.kernels import compiled, embedding
from crosscoder.errors import UserError
from tests.helpers.devices import interpreted, needs_compiler, on_cuda
from tests.helpers.kernel_choice import choose_anew, forget_choice

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton has no build here"
)
every_backend = pytest.mark.parametrize(
    ("name", "device"),
    [
        ("embedding", "cpu"),
        pytest.param("compiled", "cpu", marks=needs_compiler),
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
    with choose_anew():
        yield


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
@every_dtype
@pytest.mark.parametrize("n_latents", [1, 15, 16, 70])
@pytest.mark.parametrize("n_tokens", [0, 1, 9])
def test_entries_above_their_tokens_bound_are_listed_in_order(
    name, device, dtype, n_tokens, n_latents
):
    module = importlib.import_module(f"crosscoder.core.kernels.{name}")
    pre = torch.randn(n_tokens, n_latents).to(device, dtype)
    scale = (torch.rand(n_latents) + 0.5).to(device)
    bounds = torch.linspace(-1, 2, n_tokens).to(device)
    scores = pre * scale
    expected = []
    for row in range(n_tokens):
        for latent in range(n_latents):
            if scores[row, latent] > bounds[row]:
                expected.append((row, latent, float(scores[row, latent])))
    found = [part.tolist() for part in module.list_above(pre, scale, bounds)]
    assert list(zip(*found, strict=True)) == expected


@every_backend
def test_numbers_that_are_not_finite_are_compared_as_torch_compares_them(name, device):
    module = importlib.import_module(f"crosscoder.core.kernels.{name}")
    pre = torch.full((2, 40), -1.0)
    pre[0, 3], pre[0, 20], pre[1, 39] = torch.nan, torch.inf, -torch.inf
    scale = torch.ones(40, device=device)
    bounds = torch.zeros((), device=device).expand(2)
    rows, latents, scores = module.list_above(pre.to(device), scale, bounds)
    assert (rows.tolist(), latents.tolist(), scores.tolist()) == ([0], [20], [torch.inf])


@every_backend
def test_pre_activations_need_not_be_contiguous(name, device):
    module = importlib.import_module(f"crosscoder.core.kernels.{name}")
    pre = torch.randn(30, 8, device=device).T[::2]
    scale = torch.tensor(2.0, device=device).expand(30)
    rows, latents, scores = module.list_above(pre, scale, torch.zeros(4, device=device))
    expected_rows, expected_latents = (pre > 0).nonzero(as_tuple=True)
    assert torch.equal(rows, expected_rows)
    assert torch.equal(latents, expected_latents)
    assert torch.equal(scores, 2 * pre[rows, latents])


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


def test_torchs_default_dtype_does_not_matter():
    pre = torch.randn(9, 40)
    scale = torch.ones(40)
    bounds = torch.zeros(9)
    expected = embedding.list_above(pre, scale, bounds)
    torch.set_default_dtype(torch.float64)
    try:
        found = compiled.list_above(pre, scale, bounds)
    finally:
        torch.set_default_dtype(torch.float32)
    for part, expected_part in zip(found, expected, strict=True):
        assert torch.equal(part, expected_part)


@pytest.fixture
def compiled_anew() -> Iterator[None]:
    compiled._load_library.cache_clear()
    yield
    compiled._load_library.cache_clear()


@needs_compiler
def test_the_cpu_uses_the_compiled_backend(caplog):
    assert kernels.get_backend("cpu").__name__ == "crosscoder.core.kernels.compiled"
    assert not kernels.is_reference()
    assert not caplog.records


def test_other_devices_use_the_embedding_backend():
    assert kernels.get_backend("mps").__name__ == "crosscoder.core.kernels.embedding"


def test_without_a_compiler_torch_selects_and_a_line_says_so(compiled_anew, monkeypatch, caplog):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    assert kernels.get_backend("cpu").__name__ == "crosscoder.core.kernels.embedding"
    kernels.get_backend.cache_clear()
    kernels.get_backend("cpu")
    line = "selection runs in torch, which is slower: there is no C++ compiler"
    assert caplog.messages == [line]
    monkeypatch.setenv(kernels.VARIABLE, "compiled")
    forget_choice()
    with pytest.raises(UserError, match=r"needs a C[+]+ compiler that works, with OpenMP"):
        kernels.get_backend("cpu")


def test_a_compiler_that_fails_is_quoted(compiled_anew, monkeypatch, caplog, tmp_path):
    broken = tmp_path / "cxx"
    broken.write_text("#!/bin/sh\necho \"error: unsupported option '-fopenmp'\" >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    assert kernels.get_backend("cpu").__name__ == "crosscoder.core.kernels.embedding"
    reason = f"{broken}: error: unsupported option '-fopenmp'"
    assert caplog.messages == [f"selection runs in torch, which is slower: {reason}"]


def test_the_compiled_backend_is_refused_on_other_devices(monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "compiled")
    with pytest.raises(UserError, match="compiled is for the CPU, but tensors are on the cuda"):
        kernels.get_backend("cuda")


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
        UserError,
        match="CROSSCODER_KERNELS is compiled, embedding, triton, reference or unset, not 'fast'",
    ):
        kernels.get_backend("cpu")
