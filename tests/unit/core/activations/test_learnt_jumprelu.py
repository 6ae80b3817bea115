"""Learned thresholds against a loop over every entry in float64."""

import math

import pytest
import torch
from torch import Tensor

from crosscoder.core.activations import from_spec
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.learnt_jumprelu import LearntJumpReLU
from crosscoder.errors import UserError
from tests.helpers.small import crosscoder_of, random_acts

BATCH, N_LATENTS, WIDTH = 60, 5, 0.8


@pytest.fixture
def activation() -> LearntJumpReLU:
    made = LearntJumpReLU(N_LATENTS, initial=0.4, bandwidth=WIDTH).double()
    with torch.no_grad():
        made.log_threshold += 0.7 * torch.randn(N_LATENTS)
    return made


@pytest.fixture
def pre() -> Tensor:
    return torch.randn(BATCH, N_LATENTS, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def above() -> Tensor:
    """Draw the gradient with respect to the code."""
    return torch.randn(BATCH, N_LATENTS, dtype=torch.float64)


def entries(pre: Tensor, activation: LearntJumpReLU) -> list[tuple[int, int, float, float]]:
    """(token, latent, pre, θ)."""
    thresholds = [math.exp(t) for t in activation.log_threshold.tolist()]
    return [
        (t, j, p, thresholds[j]) for t, row in enumerate(pre.tolist()) for j, p in enumerate(row)
    ]


def near(pre: float, threshold: float) -> float:
    """K((pre − θ) / ε)."""
    return 1.0 if -0.5 < (pre - threshold) / WIDTH < 0.5 else 0.0


def test_a_pre_activation_above_its_threshold_is_the_value(activation, pre):
    values, active = activation.compute_values(pre), activation.active(pre)
    expected = [
        (t, j, p if p > threshold else 0.0) for t, j, p, threshold in entries(pre, activation)
    ]
    assert 0 < sum(value > 0 for *_, value in expected) < BATCH * N_LATENTS
    for t, j, value in expected:
        assert values[t, j].item() == value
        assert active[t, j].item() == (1.0 if value > 0 else 0.0)


def test_at_its_threshold_a_latent_is_not_active():
    activation = LearntJumpReLU(1, initial=1.0)
    pre = torch.tensor([[1.0], [1.001], [0.999]])
    assert activation.compute_values(pre)[:, 0].tolist() == pytest.approx([0, 1.001, 0])
    assert activation.active(pre)[:, 0].tolist() == [0, 1, 0]


def test_the_values_pseudo_derivatives_are_the_papers(activation, pre, above):
    activation.compute_values(pre).backward(above)
    by_threshold, by_pre = [0.0] * N_LATENTS, torch.zeros(BATCH, N_LATENTS, dtype=torch.float64)
    for t, j, p, threshold in entries(pre, activation):
        by_threshold[j] += above[t, j].item() * -threshold / WIDTH * near(p, threshold)
        by_pre[t, j] = above[t, j] if p > threshold else 0
    chained = [
        d * math.exp(t)
        for d, t in zip(by_threshold, activation.log_threshold.tolist(), strict=True)
    ]
    assert all(d != 0 for d in chained)
    assert activation.log_threshold.grad.tolist() == pytest.approx(chained, rel=1e-12)
    assert torch.equal(pre.grad, by_pre)


def test_the_steps_pseudo_derivative_is_the_papers_and_pre_activations_have_none(
    activation, pre, above
):
    activation.active(pre).backward(above)
    by_threshold = [0.0] * N_LATENTS
    for t, j, p, threshold in entries(pre, activation):
        by_threshold[j] += above[t, j].item() * -1 / WIDTH * near(p, threshold)
    chained = [
        d * math.exp(t)
        for d, t in zip(by_threshold, activation.log_threshold.tolist(), strict=True)
    ]
    assert all(d != 0 for d in chained)
    assert activation.log_threshold.grad.tolist() == pytest.approx(chained, rel=1e-12)
    assert pre.grad is None


def test_a_pre_activation_further_than_half_a_bandwidth_does_not_move_the_threshold():
    activation = LearntJumpReLU(4, initial=1.0, bandwidth=0.5)
    activation.compute_values(torch.tensor([[0.74, 0.76, 1.24, 1.26]])).sum().backward()
    assert activation.log_threshold.grad.tolist() == pytest.approx([0, -2, -2, 0])


def test_a_threshold_stays_positive_whatever_it_learns():
    activation = LearntJumpReLU(3)
    with torch.no_grad():
        activation.log_threshold -= 50
    assert activation.compute_values(torch.tensor([[-1.0, 0.0, 1.0]])).tolist() == [[0, 0, 1]]


def test_folded_it_is_a_jumprelu_with_the_same_code_of_raw_activations():
    crosscoder = crosscoder_of(LearntJumpReLU(24, initial=0.6), (5, 7), dtype="float64")
    mean, scale = torch.linspace(-3, 3, 12).double(), torch.tensor([0.5] * 5 + [4.0] * 7).double()
    crosscoder.set_units(mean, scale)
    acts = random_acts(40, 12, dtype=torch.float64)
    pre = acts @ crosscoder.W_enc.T + crosscoder.b_enc
    f = torch.where(pre > crosscoder.activation.log_threshold.exp(), pre, 0)
    folded = crosscoder.fold()
    code = folded.encode(acts * scale + mean)
    assert isinstance(folded.activation, JumpReLU)
    assert torch.equal(code.to_dense() > 0, f > 0)
    torch.testing.assert_close(code.to_dense(), f, atol=1e-5, rtol=1e-5)
    recon = (f @ crosscoder.W_dec + crosscoder.b_dec) * scale + mean
    torch.testing.assert_close(folded.decode(code), recon, atol=1e-4, rtol=1e-5)


def test_folding_copies_the_thresholds():
    crosscoder = crosscoder_of(LearntJumpReLU(24))
    folded = crosscoder.fold()
    before = folded.activation.threshold.clone()
    with torch.no_grad():
        crosscoder.activation.log_threshold += 1
    assert torch.equal(folded.activation.threshold, before)


def test_its_settings_are_in_the_spec():
    activation = LearntJumpReLU(7, initial=0.25, bandwidth=2.0)
    back = from_spec(activation.spec())
    assert isinstance(back, LearntJumpReLU)
    assert back.spec() == activation.spec()
    assert torch.equal(back.log_threshold, activation.log_threshold)


@pytest.mark.parametrize(
    ("initial", "bandwidth"), [(0.0, 0.5), (-0.1, 0.5), (0.1, 0.0), (0.1, -2.0)]
)
def test_what_is_not_positive_is_refused(initial, bandwidth):
    with pytest.raises(
        UserError, match=f"threshold and bandwidth are positive, not {initial} and {bandwidth}"
    ):
        LearntJumpReLU(4, initial, bandwidth)
