"""Designated latents write the same into all sources, at a lower penalty."""

import pytest
import torch

from crosscoder.constraints.shared_latents import SharedLatents
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.losses import LossContext
from crosscoder.losses.l1 import L1
from tests.helpers.small import crosscoder_of, random_acts


def test_designated_decoders_are_the_mean_and_others_stay():
    crosscoder = crosscoder_of(TopK(4), n_latents=20)
    before = crosscoder.W_dec.detach().clone()
    SharedLatents(share=0.25).project(crosscoder)
    mean = (before[:5, :6] + before[:5, 6:]) / 2
    torch.testing.assert_close(crosscoder.decoder("base")[:5], mean)
    assert torch.equal(crosscoder.decoder("base")[:5], crosscoder.decoder("chat")[:5])
    assert torch.equal(crosscoder.W_dec[5:], before[5:])


def test_the_penalty_is_that_of_the_paper():
    crosscoder, acts = crosscoder_of(ReLU(), n_latents=20), random_acts(30, 12)
    dead = torch.zeros(20, dtype=torch.bool)
    penalty = SharedLatents(share=0.25, discount=0.2).penalty(crosscoder)
    ctx = LossContext(acts, crosscoder(acts), crosscoder, dead, 1.0, torch.mean, penalty)
    f, norms = ctx.output.code.to_dense(), crosscoder.decoder_norms().sum(0)
    expected = (0.2 * (f * norms)[:, :5].sum(1) + (f * norms)[:, 5:].sum(1)).mean()
    torch.testing.assert_close(L1()(ctx), expected)


def test_sources_of_unequal_width_are_refused():
    with pytest.raises(UserError, match="sources of one width"):
        SharedLatents().begin(crosscoder_of(TopK(4), widths=(5, 7)))


def test_a_negative_discount_is_refused():
    with pytest.raises(UserError, match="discount"):
        SharedLatents(discount=-1).begin(crosscoder_of(TopK(4)))
