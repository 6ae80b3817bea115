"""The loss of gates: their L1, and the error of a reconstruction by them alone."""

from dataclasses import replace

import pytest
import torch

from crosscoder.core.activations.gated import Gated
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.losses import LossContext
from crosscoder.losses.gate import Gate
from tests.helpers.small import crosscoder_of, random_acts


@pytest.fixture
def crosscoder() -> Crosscoder:
    """Whose values are far from their gates."""
    made = crosscoder_of(Gated(24), (5, 7), dtype="float64")
    with torch.no_grad():
        made.activation.shift += 3
    return made


def by_hand(ctx, penalty=(1.0,) * 24) -> tuple[float, float]:
    """Compute token by token E_t Σ_j penalty_j relu(π_tj) Σ_s ‖d_j^s‖ and E_t ‖x − x̂(gates)‖²."""
    crosscoder = ctx.crosscoder
    W_enc, W_dec, b_enc, b_dec = (
        w.detach() for w in (crosscoder.W_enc, crosscoder.W_dec, crosscoder.b_enc, crosscoder.b_dec)
    )
    sparsity, error = 0.0, 0.0
    for x in ctx.acts:
        left = x - b_dec
        for j in range(24):
            gate = max(0.0, float(W_enc[j] @ x + b_enc[j]))
            sparsity += penalty[j] * gate * float(W_dec[j, :5].norm() + W_dec[j, 5:].norm())
            left = left - gate * W_dec[j]
        error += float(left @ left)
    return sparsity / len(ctx.acts), error / len(ctx.acts)


def test_it_is_the_sum_of_both(make_ctx):
    ctx = make_ctx()
    sparsity, error = by_hand(ctx)
    assert Gate(sparsity=0.7)(ctx).item() == pytest.approx(0.7 * sparsity + error, rel=1e-12)


def test_penalty_factors_apply_to_sparsity_only(make_ctx):
    penalty = torch.linspace(0.2, 3, 24, dtype=torch.float64)
    ctx = replace(make_ctx(), penalty=penalty)
    sparsity, error = by_hand(ctx, penalty.tolist())
    assert Gate(sparsity=0.7)(ctx).item() == pytest.approx(0.7 * sparsity + error, rel=1e-12)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.05, 0.25), (0.2, 1.0), (1.0, 1.0)])
def test_only_sparsity_rises_over_the_warm_up(make_ctx, progress, share):
    ctx = make_ctx(progress=progress)
    sparsity, error = by_hand(ctx)
    assert Gate(warmup=0.2)(ctx).item() == pytest.approx(share * sparsity + error, rel=1e-12)


def test_only_gates_have_a_gradient(make_ctx, crosscoder):
    ctx = make_ctx()
    Gate()(ctx).backward()
    fixed = (
        crosscoder.W_dec,
        crosscoder.b_dec,
        crosscoder.activation.log_gain,
        crosscoder.activation.shift,
    )
    assert all(weight.grad is None or weight.grad.eq(0).all() for weight in fixed)
    W_dec, b_dec = crosscoder.W_dec.detach(), crosscoder.b_dec.detach()
    gates = (ctx.acts @ crosscoder.W_enc.T + crosscoder.b_enc).relu()
    norms = W_dec[:, :5].norm(dim=1) + W_dec[:, 5:].norm(dim=1)
    loss = ((gates * norms).sum(1) + (ctx.acts - gates @ W_dec - b_dec).square().sum(1)).mean()
    for weight, expected in zip(
        (crosscoder.W_enc, crosscoder.b_enc),
        torch.autograd.grad(loss, (crosscoder.W_enc, crosscoder.b_enc)),
        strict=True,
    ):
        torch.testing.assert_close(weight.grad, expected)


def test_an_activation_without_gates_is_refused():
    crosscoder, acts = crosscoder_of(TopK(4)), random_acts(30, 12)
    ctx = LossContext(
        acts, crosscoder(acts), crosscoder, torch.zeros(24, dtype=torch.bool), 0.5, torch.mean
    )
    with pytest.raises(
        UserError, match="needs all pre-activations, but the activation does not keep them"
    ):
        Gate()(ctx)
