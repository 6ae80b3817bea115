"""The error of the difference, which shared latents may not explain, on sparse and dense codes."""

import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sparse import DenseCode, SparseCode
from crosscoder.errors import UserError
from crosscoder.losses import LossContext, total
from crosscoder.losses.covariance import Covariance
from crosscoder.losses.difference import Difference
from crosscoder.losses.reconstruction import Reconstruction
from tests.helpers.small import crosscoder_of, random_acts

SIZES = {"squared": lambda e: float(e @ e), "unsquared": lambda e: float(e @ e) ** 0.5}
every_kind = pytest.mark.parametrize("kind", SIZES)


@pytest.fixture(params=[24, 120], ids=["dense", "sparse"])
def crosscoder(request) -> Crosscoder:
    return crosscoder_of(TopK(4), (6, 6), request.param, dtype="float64")


def by_hand(ctx, first: int, kind: str) -> float:
    """Of (x^c − x^b) − Σ_{j ≥ first} f_j (d_j^c − d_j^b) − (b^c − b^b), one latent at a time."""
    W_dec, b_dec = ctx.crosscoder.W_dec.detach(), ctx.crosscoder.b_dec.detach()
    size = 0.0
    for x, row in zip(ctx.acts, ctx.output.code.to_dense().tolist(), strict=True):
        left = (x[6:] - x[:6]) - (b_dec[6:] - b_dec[:6])
        for j in range(first, len(row)):
            left = left - row[j] * (W_dec[j, 6:] - W_dec[j, :6])
        size += SIZES[kind](left)
    return size / len(ctx.acts)


@every_kind
@pytest.mark.parametrize(("shared", "twelfths"), [(0.0, 0), (0.25, 3), (0.75, 9)])
def test_it_is_the_error_of_the_difference_without_shared_latents(
    make_ctx, crosscoder, kind, shared, twelfths
):
    ctx, n = make_ctx(), crosscoder.n_latents
    assert isinstance(ctx.output.code, DenseCode if n == 24 else SparseCode)
    expected = by_hand(ctx, twelfths * n // 12, kind)
    assert Difference(kind, shared=shared)(ctx).item() == pytest.approx(expected, rel=1e-12)


def test_without_shared_latents_it_is_the_covariance_family_at_its_sae_end(
    make_ctx,
):
    ctx = make_ctx()
    error = (ctx.acts - ctx.output.recon).detach()
    expected = (error[:, 6:] - error[:, :6]).square().sum(1).mean().item()
    family = {"reconstruction": Reconstruction("squared"), "covariance": Covariance(weight=-2.0)}
    assert Difference()(ctx).item() == pytest.approx(expected, rel=1e-12)
    assert Difference()(ctx).item() == pytest.approx(total(family, ctx)[0].item(), rel=1e-10)


@every_kind
def test_shared_latents_learn_nothing_from_it(make_ctx, crosscoder, kind):
    Difference(kind, shared=0.25)(make_ctx()).backward()
    shared = crosscoder.n_latents // 4
    for weight in (crosscoder.W_enc, crosscoder.b_enc, crosscoder.W_dec):
        assert weight.grad[:shared].abs().max() < 1e-12
        assert weight.grad[shared:].abs().max() > 1e-3


@every_kind
def test_either_source_learns_the_opposite_of_the_other(make_ctx, crosscoder, kind):
    Difference(kind, shared=0.25)(make_ctx()).backward()
    for gradient in (crosscoder.W_dec.grad, crosscoder.b_dec.grad):
        assert gradient.abs().max() > 1e-3
        torch.testing.assert_close(gradient[..., :6], -gradient[..., 6:])


@pytest.mark.parametrize("shared", [-0.1, 1.0, 2.0])
def test_a_fraction_that_leaves_no_latent_is_refused(shared):
    with pytest.raises(
        UserError, match=f"shared is a fraction of the latents, from 0 to below 1, not {shared}"
    ):
        Difference(shared=shared)


def test_an_unknown_kind_is_named(unchecked):
    with pytest.raises(UserError, match="squared or unsquared, not 'normalised'"):
        Difference("normalised")


def test_sources_that_cannot_be_subtracted_are_refused():
    crosscoder, acts = crosscoder_of(TopK(4), (5, 7)), random_acts(30, 12)
    ctx = LossContext(
        acts, crosscoder(acts), crosscoder, torch.zeros(24, dtype=torch.bool), 0.5, torch.mean
    )
    with pytest.raises(
        UserError,
        match=r"error of the difference needs two compared sources \(diff_pair\) of one width",
    ):
        Difference()(ctx)
