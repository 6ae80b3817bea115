import pytest
import torch

from crosscoder.losses.auxk import AuxK

DEAD = [1, 4, 8, 15, 16, 23]  # more than k_aux, which is half of the widest source: 7 // 2 = 3


def unexplained(given, k_aux: int) -> float:
    """The definition, one token at a time: the dead latents with the largest v decode what is left over."""
    crosscoder = given.crosscoder
    W_enc, W_dec, b_enc = (weight.detach() for weight in (crosscoder.W_enc, crosscoder.W_dec, crosscoder.b_enc))
    left = (given.acts - given.output.recon).detach()
    norms = W_dec[:, :5].norm(dim=1) + W_dec[:, 5:].norm(dim=1)
    residual = 0.0
    for x, e in zip(given.acts, left, strict=True):
        pre = (W_enc @ x + b_enc).clamp(min=0)
        dead = given.dead.nonzero().flatten().tolist()
        chosen = sorted(dead, key=lambda j: -float(pre[j] * norms[j]))[:k_aux]
        residual += float((e - sum(pre[j] * W_dec[j] for j in chosen)).square().sum())
    return residual / float((left - left.mean(0)).square().sum())


@pytest.mark.parametrize(("dead", "k_aux"), [(DEAD, 3), (DEAD[:2], 2)])
def test_dead_latents_explain_what_the_others_left(given, dead, k_aux):
    given = given(dead)
    assert AuxK()(given).item() == pytest.approx(unexplained(given, k_aux), rel=1e-9)


def test_without_dead_latents_there_is_nothing_to_revive(given):
    assert AuxK()(given()).item() == 0.0


def test_only_dead_latents_get_a_gradient_and_the_residual_is_a_target(given, crosscoder):
    AuxK()(given(DEAD)).backward()
    alive = torch.ones(24, dtype=torch.bool)
    alive[DEAD] = False
    for weight in (crosscoder.W_enc, crosscoder.W_dec, crosscoder.b_enc):
        assert weight.grad[alive].eq(0).all()
        assert weight.grad[~alive].ne(0).any()
    assert crosscoder.b_dec.grad is None
