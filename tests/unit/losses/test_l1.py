import pytest

from crosscoder.errors import UserError
from crosscoder.losses.l1 import L1


def penalty(ctx, norm_of_latent) -> float:
    """E_t Σ_j f_tj · norm_of_latent(‖d_j^base‖, ‖d_j^chat‖), one entry at a time."""
    f, W_dec = ctx.output.code.to_dense().detach(), ctx.crosscoder.W_dec.detach()
    total = 0.0
    for row in f:
        for j, value in enumerate(row.tolist()):
            total += value * norm_of_latent(float(W_dec[j, :5].norm()), float(W_dec[j, 5:].norm()))
    return total / len(f)


def test_sum_of_norms(make_ctx):
    expected = penalty(make_ctx(), lambda base, chat: base + chat)
    assert L1("sum")(make_ctx()).item() == pytest.approx(expected, rel=1e-12)


def test_norm_of_the_concatenation(make_ctx):
    expected = penalty(make_ctx(), lambda base, chat: (base**2 + chat**2) ** 0.5)
    assert L1("concat")(make_ctx()).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.05, 0.25), (0.2, 1.0), (1.0, 1.0)])
def test_the_penalty_rises_over_the_warm_up(make_ctx, progress, share):
    term, whole = L1(warmup=0.2), L1(warmup=0.0)(make_ctx(progress=progress)).item()
    assert whole > 0
    assert term(make_ctx(progress=progress)).item() == pytest.approx(share * whole)


def test_an_unknown_norm_is_named(unchecked):
    with pytest.raises(UserError, match="sum or concat, not 'max'"):
        L1("max")
