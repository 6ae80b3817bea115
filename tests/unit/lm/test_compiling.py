"""Compiled layers: nearly the same activations, restored models, and a fallback in one line."""

import logging

import pytest
import torch

from crosscoder.lm import Hookpoint, load_pair
from crosscoder.lm.architectures import get_layers
from crosscoder.lm.compiling import compile_layers
from crosscoder.lm.hooks import read
from crosscoder.lm.loading.measuring import measure_token_error
from crosscoder.lm.types import PreTrainedModel

LAST = [Hookpoint(1, "resid_post")]
IDS = torch.randint(6, 200, (4, 32), generator=torch.Generator().manual_seed(0))
POSITIONS = (torch.arange(32) % 20).expand_as(IDS)  # two documents in every row


def load(dtype: str = "float32") -> PreTrainedModel:
    return load_pair("tiny", dtype=dtype, device="cpu")["chat"]


def read_last(model: PreTrainedModel, n: int = 4) -> torch.Tensor:
    found = read(model, LAST, IDS[:n], POSITIONS[:n], packing="positions")
    return found[LAST[0]].flatten(0, 1)


def require_restored(model: PreTrainedModel) -> None:
    assert all("forward" not in vars(layer) for layer in get_layers(model))
    assert model.config._attn_implementation == "sdpa"


def fake_compile(change):
    """Return a replacement of torch.compile that changes what a function returns."""

    def compile_nothing(function, dynamic):
        return lambda *args, **kwargs: change(function(*args, **kwargs))

    return compile_nothing


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_activations_are_as_near_to_float32_as_eager_ones(dtype):
    model = load(dtype)
    eager = read_last(model)
    with compile_layers(model, LAST, IDS, POSITIONS, "positions") as is_compiled:
        assert is_compiled
        compiled = read_last(model)
        half = read_last(model, 2)
        one = read_last(model, 1)
    require_restored(model)
    assert torch.equal(read_last(model), eager)
    assert torch.equal(half, compiled[: len(half)])  # the batch does not matter
    exact = read_last(load("float32").double())
    error = measure_token_error(compiled, exact)
    tolerance = 1e-5 if dtype == "float32" else 1.1 * measure_token_error(eager, exact)
    assert error <= tolerance
    assert measure_token_error(one, exact[: len(one)]) <= 2 * tolerance


def test_without_a_compiler_one_line_says_so(monkeypatch, caplog):
    def refuse(function, dynamic):
        raise RuntimeError("No working C++ compiler found\nin PATH")

    monkeypatch.setattr(torch, "compile", refuse)
    model = load()
    expected = read_last(model)
    with compile_layers(model, LAST, IDS, POSITIONS, "positions") as is_compiled:
        assert not is_compiled
        require_restored(model)
        assert torch.equal(read_last(model), expected)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "the model runs uncompiled, which is slower: No working C++ compiler found"
    )


@pytest.mark.parametrize("factor", [1.2, float("nan")])
def test_wrong_activations_of_a_compiled_model_are_noticed(monkeypatch, caplog, factor):
    monkeypatch.setattr(torch, "compile", fake_compile(lambda output: output * factor))
    model = load()
    with compile_layers(model, LAST, IDS, POSITIONS, "positions") as is_compiled:
        assert not is_compiled
        require_restored(model)
    assert "differ by" in caplog.text


def stop_inside(model: PreTrainedModel) -> None:
    with compile_layers(model, LAST, IDS, POSITIONS, "positions"):
        assert "forward" in vars(get_layers(model)[0])
        raise KeyboardInterrupt


def test_the_model_is_restored_after_an_error(monkeypatch):
    monkeypatch.setattr(torch, "compile", fake_compile(lambda output: output))
    model = load()
    with pytest.raises(KeyboardInterrupt):
        stop_inside(model)
    require_restored(model)


def test_layers_with_a_hook_inside_are_not_compiled(monkeypatch):
    monkeypatch.setattr(torch, "compile", fake_compile(lambda output: output))
    model = load()
    hookpoints = [Hookpoint(0, "mlp_out"), Hookpoint(1, "resid_post")]
    with compile_layers(model, hookpoints, IDS, POSITIONS, "positions") as is_compiled:
        assert is_compiled
        found = ["forward" in vars(layer) for layer in get_layers(model)]
    assert found == [False, True]


@pytest.mark.parametrize(("site", "attention"), [("resid_post", "eager"), ("mlp_out", "sdpa")])
def test_attention_is_plain_only_if_all_layers_are_compiled(monkeypatch, site, attention):
    monkeypatch.setattr(torch, "compile", fake_compile(lambda found: found))
    model = load()
    hookpoints = [Hookpoint(1, site)]
    with compile_layers(model, hookpoints, IDS, POSITIONS, packing="positions") as is_compiled:
        assert is_compiled
        assert model.config._attn_implementation == attention
    require_restored(model)
