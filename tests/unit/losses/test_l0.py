"""The number of active latents, whose gradient reaches thresholds alone."""

from dataclasses import replace

import pytest
import torch

from crosscoder.core.activations.learnt_jumprelu import LearntJumpReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.losses import LossContext
from crosscoder.losses.l0 import L0
from tests.helpers.small import crosscoder_of, random_acts

BANDWIDTH = 0.5
PENALTY = torch.linspace(0.2, 3, 24, dtype=torch.float64)


@pytest.fixture
def crosscoder() -> Crosscoder:
    return crosscoder_of(LearntJumpReLU(24, 0.6, BANDWIDTH), (5, 7), dtype="float64")


def by_hand(ctx, penalty=(1.0,) * 24) -> tuple[float, list[float]]:
    """E_t Σ_j H(pre_tj − θ_j), each weighted, and its pseudo-derivative by every log θ_j."""
    crosscoder = ctx.crosscoder
    W_enc, b_enc = crosscoder.W_enc.detach(), crosscoder.b_enc.detach()
    thresholds = crosscoder.activation.log_threshold.detach().exp().tolist()
    l0, slopes = 0.0, [0.0] * 24
    for x in ctx.acts:
        for j, threshold in enumerate(thresholds):
            pre = float(W_enc[j] @ x + b_enc[j])
            l0 += float(penalty[j]) * (pre > threshold) / len(ctx.acts)
            near = abs(pre - threshold) < BANDWIDTH / 2
            slopes[j] -= float(penalty[j]) * threshold / BANDWIDTH * near / len(ctx.acts)
    return l0, slopes


def slopes(crosscoder: Crosscoder) -> list[float]:
    return crosscoder.activation.log_threshold.grad.tolist()


def test_it_counts_active_latents(make_ctx, crosscoder):
    ctx = make_ctx()
    expected, by_threshold = by_hand(ctx)
    value = L0()(ctx)
    assert 1 < expected < 23
    assert value.item() == pytest.approx(expected, rel=1e-12)
    value.backward()
    assert slopes(crosscoder) == pytest.approx(by_threshold, rel=1e-10)


def test_every_latent_is_weighted_by_its_penalty_factor(make_ctx, crosscoder):
    ctx = replace(make_ctx(), penalty=PENALTY)
    expected, by_threshold = by_hand(ctx, PENALTY.tolist())
    value = L0()(ctx)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    value.backward()
    assert slopes(crosscoder) == pytest.approx(by_threshold, rel=1e-10)


@pytest.mark.parametrize("target", [2.0, 20.0])
def test_with_a_target_it_is_the_squared_distance_to_it(make_ctx, crosscoder, target):
    ctx = make_ctx()
    l0, by_threshold = by_hand(ctx)
    value = L0(target=target)(ctx)
    assert value.item() == pytest.approx(2 / target * (l0 - target) ** 2, rel=1e-12)
    value.backward()
    slope = 4 / target * (l0 - target)
    assert slopes(crosscoder) == pytest.approx([slope * one for one in by_threshold], rel=1e-10)


@pytest.mark.parametrize("target", [None, 5.0])
def test_only_thresholds_have_a_gradient(make_ctx, crosscoder, target):
    L0(target=target)(make_ctx()).backward()
    others = (crosscoder.W_enc, crosscoder.b_enc, crosscoder.W_dec, crosscoder.b_dec)
    assert all(weight.grad is None or weight.grad.eq(0).all() for weight in others)
    assert crosscoder.activation.log_threshold.grad.ne(0).any()


@pytest.mark.parametrize("target", [None, 5.0])
@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.05, 0.25), (0.2, 1.0), (1.0, 1.0)])
def test_it_rises_over_the_warm_up(make_ctx, progress, share, target):
    term, whole = (
        L0(target=target, warmup=0.2),
        L0(target=target, warmup=0.0)(make_ctx(progress=progress)).item(),
    )
    assert whole > 0
    assert term(make_ctx(progress=progress)).item() == pytest.approx(share * whole)


@pytest.mark.parametrize("target", [0.0, -3.0])
def test_a_target_that_is_not_positive_is_refused(target):
    with pytest.raises(
        UserError, match=f"loss.l0.target is a positive number or null, not {target}"
    ):
        L0(target=target)


def test_an_activation_without_thresholds_is_refused():
    crosscoder = crosscoder_of(TopK(4), (6, 6), 24).train()
    acts = random_acts(8, 12)
    ctx = LossContext(
        acts, crosscoder(acts), crosscoder, torch.zeros(24, dtype=torch.bool), 0.5, torch.mean
    )
    with pytest.raises(UserError, match="activation topk has no thresholds to train"):
        L0()(ctx)
