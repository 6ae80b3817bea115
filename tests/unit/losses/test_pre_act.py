"""Latents that are nowhere active have a gradient."""

import pytest
import torch

from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.learnt_jumprelu import LearntJumpReLU
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.losses import LossContext
from crosscoder.losses.pre_act import PreAct
from tests.helpers.small import crosscoder_of, random_acts


@pytest.fixture
def crosscoder() -> Crosscoder:
    return crosscoder_of(LearntJumpReLU(24, initial=0.6), (5, 7), dtype="float64")


def test_it_is_the_mean_distance_below_the_thresholds(make_ctx, crosscoder):
    ctx = make_ctx(progress=0.0)  # there is no warm-up
    W_enc, W_dec, b_enc = (
        w.detach() for w in (crosscoder.W_enc, crosscoder.W_dec, crosscoder.b_enc)
    )
    expected = 0.0
    for x in ctx.acts:
        for j, threshold in enumerate(crosscoder.activation.log_threshold.detach().exp().tolist()):
            short = max(0.0, threshold - float(W_enc[j] @ x + b_enc[j]))
            expected += short * float(W_dec[j, :5].norm() + W_dec[j, 5:].norm()) / len(ctx.acts)
    assert expected > 0
    assert PreAct()(ctx).item() == pytest.approx(expected, rel=1e-12)


def test_a_latent_that_is_nowhere_active_is_pulled_towards_its_threshold(make_ctx, crosscoder):
    with torch.no_grad():
        crosscoder.b_enc[:2] = torch.tensor([-50.0, 50.0])
    ctx = make_ctx()
    assert ctx.output.code.counts()[:2].tolist() == [0, len(ctx.acts)]
    PreAct()(ctx).backward()
    norm = crosscoder.decoder_norms().sum(0)[0].item()
    threshold = crosscoder.activation.log_threshold[0].exp().item()
    assert crosscoder.b_enc.grad[0].item() == pytest.approx(-norm)
    assert crosscoder.activation.log_threshold.grad[0].item() == pytest.approx(norm * threshold)
    for gradient in (crosscoder.b_enc.grad, crosscoder.activation.log_threshold.grad):
        assert gradient[1].item() == 0


def test_an_activation_that_keeps_no_pre_activations_is_refused():
    crosscoder, acts = crosscoder_of(BatchTopK(4)), random_acts(30, 12)
    ctx = LossContext(
        acts, crosscoder(acts), crosscoder, torch.zeros(24, dtype=torch.bool), 0.5, torch.mean
    )
    with pytest.raises(UserError, match="activation batch_topk has no thresholds to train"):
        PreAct()(ctx)
