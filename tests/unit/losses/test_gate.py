"""What gates learn from: an L1 of theirs, and a reconstruction by them alone."""

from dataclasses import replace

import pytest
import torch

from crosscoder.activations.gated import Gated
from crosscoder.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.losses import LossInput
from crosscoder.losses.gate import Gate
from crosscoder.model import Crosscoder
from tests.small import crosscoder_of, random_acts


@pytest.fixture
def crosscoder() -> Crosscoder:
    """Whose values are far from their gates."""
    made = crosscoder_of(Gated(24), (5, 7), dtype="float64")
    with torch.no_grad():
        made.activation.shift += 3
    return made


def by_hand(given, penalty=(1.0,) * 24) -> tuple[float, float]:
    """(E_t Σ_j penalty_j relu(π_tj) Σ_s ‖d_j^s‖, E_t ‖x_t − W_dec relu(π_t) − b_dec‖²), one token at a time."""
    crosscoder = given.crosscoder
    W_enc, W_dec, b_enc, b_dec = (
        w.detach() for w in (crosscoder.W_enc, crosscoder.W_dec, crosscoder.b_enc, crosscoder.b_dec)
    )
    sparsity, error = 0.0, 0.0
    for x in given.acts:
        left = x - b_dec
        for j in range(24):
            gate = max(0.0, float(W_enc[j] @ x + b_enc[j]))
            sparsity += penalty[j] * gate * float(W_dec[j, :5].norm() + W_dec[j, 5:].norm())
            left = left - gate * W_dec[j]
        error += float(left @ left)
    return sparsity / len(given.acts), error / len(given.acts)


def test_it_is_the_sum_of_both(given):
    given = given()
    sparsity, error = by_hand(given)
    assert Gate(sparsity=0.7)(given).item() == pytest.approx(0.7 * sparsity + error, rel=1e-12)


def test_the_penalty_is_on_sparsity_alone(given):
    penalty = torch.linspace(0.2, 3, 24, dtype=torch.float64)
    given = replace(given(), penalty=penalty)
    sparsity, error = by_hand(given, penalty.tolist())
    assert Gate(sparsity=0.7)(given).item() == pytest.approx(0.7 * sparsity + error, rel=1e-12)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.05, 0.25), (0.2, 1.0), (1.0, 1.0)])
def test_sparsity_alone_rises_over_the_warm_up(given, progress, share):
    given = given(progress=progress)
    sparsity, error = by_hand(given)
    assert Gate(warmup=0.2)(given).item() == pytest.approx(share * sparsity + error, rel=1e-12)


def test_gates_learn_and_nothing_else(given, crosscoder):
    given = given()
    Gate()(given).backward()
    fixed = (crosscoder.W_dec, crosscoder.b_dec, crosscoder.activation.log_gain, crosscoder.activation.shift)
    assert all(weight.grad is None or weight.grad.eq(0).all() for weight in fixed)
    W_dec, b_dec = crosscoder.W_dec.detach(), crosscoder.b_dec.detach()
    gates = (given.acts @ crosscoder.W_enc.T + crosscoder.b_enc).relu()
    norms = W_dec[:, :5].norm(dim=1) + W_dec[:, 5:].norm(dim=1)
    loss = ((gates * norms).sum(1) + (given.acts - gates @ W_dec - b_dec).square().sum(1)).mean()
    for weight, expected in zip(
        (crosscoder.W_enc, crosscoder.b_enc),
        torch.autograd.grad(loss, (crosscoder.W_enc, crosscoder.b_enc)),
        strict=True,
    ):
        torch.testing.assert_close(weight.grad, expected)


def test_an_activation_without_gates_is_refused():
    crosscoder, acts = crosscoder_of(TopK(4)), random_acts(30, 12)
    given = LossInput(acts, crosscoder(acts), crosscoder, torch.zeros(24, dtype=torch.bool), 0.5, torch.mean)
    with pytest.raises(UserError, match="pre-activations that the activation does not keep"):
        Gate()(given)
