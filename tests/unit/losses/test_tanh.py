"""A penalty that is flat for strong activations, on sparse and on dense codes."""

import math
from dataclasses import replace

import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sparse import DenseCode, SparseCode
from crosscoder.losses.tanh import Tanh
from tests.helpers.small import crosscoder_of


@pytest.fixture(params=[24, 120], ids=["dense", "sparse"])
def crosscoder(request) -> Crosscoder:
    return crosscoder_of(TopK(4), (5, 7), request.param, dtype="float64")


def by_hand(ctx, c: float, penalty: list[float]) -> float:
    """E_t Σ_j penalty_j tanh(c f_tj Σ_s ‖d_j^s‖), one entry at a time."""
    f, W_dec = ctx.output.code.to_dense().detach(), ctx.crosscoder.W_dec.detach()
    total = 0.0
    for row in f:
        for j, value in enumerate(row.tolist()):
            total += penalty[j] * math.tanh(
                c * value * float(W_dec[j, :5].norm() + W_dec[j, 5:].norm())
            )
    return total / len(f)


@pytest.mark.parametrize("c", [0.03, 4.0])
def test_contributions_saturate_as_tanh(make_ctx, crosscoder, c):
    ctx = make_ctx()
    assert isinstance(ctx.output.code, DenseCode if crosscoder.n_latents == 24 else SparseCode)
    expected = by_hand(ctx, c, [1.0] * crosscoder.n_latents)
    assert Tanh(c=c)(ctx).item() == pytest.approx(expected, rel=1e-12)


def test_every_latent_is_weighted_by_its_penalty_factor(make_ctx, crosscoder):
    penalty = torch.linspace(0.2, 3, crosscoder.n_latents, dtype=torch.float64)
    ctx = replace(make_ctx(), penalty=penalty)
    expected = by_hand(ctx, 0.1, penalty.tolist())
    assert Tanh(c=0.1)(ctx).item() == pytest.approx(expected, rel=1e-12)


def test_its_gradient_is_that_of_the_formula(make_ctx, crosscoder):
    ctx = make_ctx()
    Tanh(c=0.1)(ctx).backward()
    found = {
        name: weight.grad
        for name, weight in crosscoder.named_parameters()
        if weight.grad is not None
    }
    active = ctx.output.code.to_dense().detach() > 0
    f = torch.where(active, ctx.acts @ crosscoder.W_enc.T + crosscoder.b_enc, 0)
    norms = crosscoder.W_dec[:, :5].norm(dim=1) + crosscoder.W_dec[:, 5:].norm(dim=1)
    loss = torch.tanh(0.1 * f * norms).sum(1).mean()
    assert set(found) == {"W_enc", "b_enc", "W_dec"}
    expected = torch.autograd.grad(loss, [crosscoder.get_parameter(name) for name in found])
    for name, gradient in zip(found, expected, strict=True):
        torch.testing.assert_close(found[name], gradient)


def test_a_strong_latent_has_no_gradient(make_ctx, crosscoder):
    with torch.no_grad():
        crosscoder.b_enc.fill_(1000.0)
    ctx = make_ctx()
    value = Tanh()(ctx)
    value.backward()
    assert value.item() == pytest.approx(4)  # as many as are active
    assert crosscoder.W_enc.grad.abs().max() < 1e-12


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.05, 0.25), (0.2, 1.0), (1.0, 1.0)])
def test_it_rises_over_the_warm_up(make_ctx, progress, share):
    term, whole = Tanh(warmup=0.2), Tanh(warmup=0.0)(make_ctx(progress=progress)).item()
    assert whole > 0
    assert term(make_ctx(progress=progress)).item() == pytest.approx(share * whole)


def test_by_default_it_rises_over_the_whole_run(make_ctx):
    assert Tanh()(make_ctx(progress=0.5)).item() == pytest.approx(
        0.5 * Tanh()(make_ctx(progress=1.0)).item()
    )
