"""Between the squared error of both models and that of their difference."""

import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.losses import LossContext, total
from crosscoder.losses.covariance import Covariance
from crosscoder.losses.reconstruction import Reconstruction
from tests.helpers.small import crosscoder_of, random_acts


def make_ctx(widths=(6, 6)) -> LossContext:
    crosscoder, acts = crosscoder_of(TopK(4), widths), random_acts(30, sum(widths))
    return LossContext(
        acts, crosscoder(acts), crosscoder, torch.zeros(24, dtype=torch.bool), 0.5, torch.mean
    )


@pytest.mark.parametrize("lam", [0.0, -0.5, -1.0])
def test_with_the_squared_error_it_is_the_published_family(lam):
    input_ = make_ctx()
    error = (input_.acts - input_.output.recon).double()
    base, chat = error[:, :6], error[:, 6:]
    expected = (base.square().sum(1) + chat.square().sum(1) + 2 * lam * (base * chat).sum(1)).mean()
    terms = {"reconstruction": Reconstruction("squared"), "covariance": Covariance(2 * lam)}
    assert total(terms, input_)[0].item() == pytest.approx(expected.item(), rel=1e-5)
    if lam == -1:
        assert expected.item() == pytest.approx((chat - base).square().sum(1).mean().item())


@pytest.mark.parametrize("weight", [0.5, -2.5])
def test_outside_the_family_it_is_refused(weight):
    with pytest.raises(UserError, match="covariance"):
        Covariance(weight)


def test_sources_that_cannot_be_compared_are_refused():
    with pytest.raises(UserError, match=r"two compared sources \(diff_pair\) of one width"):
        Covariance()(make_ctx((5, 7)))
