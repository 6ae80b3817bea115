import pytest
import torch

from crosscoder.losses import LossContext
from crosscoder.losses.auxk import AuxK

DEAD = [1, 4, 8, 15, 16, 23]  # more than k_aux, which is half of the widest source: 7 // 2 = 3


def unexplained(ctx, k_aux: int) -> float:
    """Compute it token by token: dead latents with the largest v decode the residual."""
    crosscoder = ctx.crosscoder
    W_enc, W_dec, b_enc = (
        weight.detach() for weight in (crosscoder.W_enc, crosscoder.W_dec, crosscoder.b_enc)
    )
    left = (ctx.acts - ctx.output.recon).detach()
    norms = W_dec[:, :5].norm(dim=1) + W_dec[:, 5:].norm(dim=1)
    residual = 0.0
    for x, e in zip(ctx.acts, left, strict=True):
        pre = (W_enc @ x + b_enc).clamp(min=0)
        dead = ctx.dead.nonzero().flatten().tolist()
        chosen = sorted(dead, key=lambda j: -float(pre[j] * norms[j]))[:k_aux]
        residual += float((e - sum(pre[j] * W_dec[j] for j in chosen)).square().sum())
    return residual / float((left - left.mean(0)).square().sum())


@pytest.mark.parametrize(("dead", "k_aux"), [(DEAD, 3), (DEAD[:2], 2)])
def test_dead_latents_reconstruct_the_residual(make_ctx, dead, k_aux):
    ctx = make_ctx(dead)
    assert AuxK()(ctx).item() == pytest.approx(unexplained(ctx, k_aux), rel=1e-9)


def test_without_dead_latents_the_loss_is_zero(make_ctx):
    assert AuxK()(make_ctx()).item() == 0.0


def test_the_loss_of_one_token_is_zero(make_ctx, crosscoder):
    made = make_ctx(DEAD)
    one = LossContext(
        made.acts[:1], crosscoder(made.acts[:1]), crosscoder, made.dead, 1.0, torch.mean
    )
    loss = AuxK()(one)
    loss.backward()
    assert loss.item() == 0.0
    assert crosscoder.W_dec.grad is None or crosscoder.W_dec.grad.isfinite().all()


def test_only_dead_latents_get_a_gradient_and_the_residual_is_a_target(make_ctx, crosscoder):
    AuxK()(make_ctx(DEAD)).backward()
    alive = torch.ones(24, dtype=torch.bool)
    alive[DEAD] = False
    for weight in (crosscoder.W_enc, crosscoder.W_dec, crosscoder.b_enc):
        assert weight.grad[alive].eq(0).all()
        assert weight.grad[~alive].ne(0).any()
    assert crosscoder.b_dec.grad is None
