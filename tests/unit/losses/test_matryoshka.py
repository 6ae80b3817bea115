"""Prefixes of the dictionary that reconstruct alone, on sparse and on dense codes."""

import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sparse import DenseCode, SparseCode
from crosscoder.errors import UserError
from crosscoder.losses.matryoshka import Matryoshka
from crosscoder.losses.reconstruction import Reconstruction
from tests.helpers.small import crosscoder_of

PREFIXES = (1 / 12, 1 / 6, 1 / 2, 1.0)
SIZES = {
    "squared": lambda base, chat: base @ base + chat @ chat,
    "unsquared": lambda base, chat: ((base @ base) ** 0.5 + (chat @ chat) ** 0.5) / 2,
    "normalised": lambda base, chat: (base @ base + chat @ chat) / 12,
}
every_kind = pytest.mark.parametrize("kind", SIZES)


@pytest.fixture(params=[24, 120], ids=["dense", "sparse"])
def crosscoder(request) -> Crosscoder:
    return crosscoder_of(TopK(4), (5, 7), request.param, dtype="float64")


def by_hand(ctx, ends: list[int], kind: str) -> float:
    """(1 / G) Σ_g of the error that the first latents leave, one token and one latent at a time."""
    f, W_dec = ctx.output.code.to_dense().detach(), ctx.crosscoder.W_dec.detach()
    total = 0.0
    for x, row in zip(ctx.acts, f.tolist(), strict=True):
        for end in ends:
            left = x - ctx.crosscoder.b_dec.detach()
            for j in range(end):
                left = left - row[j] * W_dec[j]
            total += float(SIZES[kind](left[:5], left[5:]))
    return total / len(f) / len(ends)


@every_kind
def test_every_prefix_has_a_reconstruction_error(make_ctx, crosscoder, kind):
    ctx, n = make_ctx(), crosscoder.n_latents
    assert isinstance(ctx.output.code, DenseCode if n == 24 else SparseCode)
    expected = by_hand(ctx, [n // 12, n // 6, n // 2, n], kind)
    assert Matryoshka(PREFIXES, kind)(ctx).item() == pytest.approx(expected, rel=1e-12)


@every_kind
def test_with_the_whole_dictionary_as_only_prefix_it_is_the_reconstruction(make_ctx, kind):
    ctx = make_ctx()
    assert Matryoshka((1.0,), kind)(ctx).item() == pytest.approx(
        Reconstruction(kind)(ctx).item(), rel=1e-12
    )


def test_its_gradient_is_that_of_the_formula(make_ctx, crosscoder):
    ctx, n = make_ctx(), crosscoder.n_latents
    Matryoshka(PREFIXES)(ctx).backward()
    found = {name: weight.grad for name, weight in crosscoder.named_parameters()}
    active = ctx.output.code.to_dense().detach() > 0
    f = torch.where(active, ctx.acts @ crosscoder.W_enc.T + crosscoder.b_enc, 0)
    loss = torch.zeros((), dtype=torch.float64)
    for end in (n // 12, n // 6, n // 2, n):
        first = torch.where(torch.arange(n) < end, f, 0)
        left = ctx.acts - first @ crosscoder.W_dec - crosscoder.b_dec
        loss = loss + left.square().sum(1).mean() / 4
    expected = torch.autograd.grad(loss, list(crosscoder.parameters()))
    for (name, gradient), other in zip(found.items(), expected, strict=True):
        torch.testing.assert_close(gradient, other, msg=name)


def test_a_prefix_has_at_least_one_latent_and_may_equal_another(make_ctx, crosscoder):
    ctx = make_ctx()
    expected = by_hand(ctx, [1, 1, crosscoder.n_latents], "squared")
    assert Matryoshka((1e-4, 2e-4, 1.0))(ctx).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "prefixes", [(), (0.5,), (0.5, 0.25, 1.0), (0.0, 1.0), (-0.5, 1.0), (0.5, 0.5, 1.0), (1.0, 2.0)]
)
def test_prefixes_that_do_not_rise_to_the_whole_are_refused(prefixes):
    with pytest.raises(UserError, match=r"matryoshka.prefixes rise from above 0 to 1, not \["):
        Matryoshka(prefixes)
