"""One token, two latents, two streams of width 1: everything worked out on paper.

x = (2, 4)      W_enc = (1, 0), (½, ½)   b_enc = (−1, 0)     pre = (1, 3)
W_dec = (3, 4), (1, 1)   b_dec = (½, −½)     norms = 3 + 4 = 7, 1 + 1 = 2

v = pre · norms = (7, 6): TopK(1) keeps the first latent although its pre-activation is the smaller
one. f = (1, 0)      x̂ = (3½, 3½)             e = x − x̂ = (−1½, ½)
"""

import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.core.metrics import delta_norm, relative_norm
from crosscoder.core.model import Crosscoder
from crosscoder.losses import LossContext
from crosscoder.losses.l1 import L1
from crosscoder.losses.reconstruction import Reconstruction
from tests.helpers.small import sources_of


@pytest.fixture
def crosscoder() -> Crosscoder:
    W_enc, W_dec = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[3.0, 4.0], [1.0, 1.0]])
    made = Crosscoder(
        sources_of(1, 1), 2, TopK(1), init=lambda *_: (W_enc, W_dec), gemm_dtype="float32"
    )
    with torch.no_grad():
        made.b_enc.copy_(torch.tensor([-1.0, 0.0]))
        made.b_dec.copy_(torch.tensor([0.5, -0.5]))
    return made


@pytest.fixture
def ctx(crosscoder) -> LossContext:
    acts = torch.tensor([[2.0, 4.0]])
    return LossContext(
        acts, crosscoder(acts), crosscoder, torch.zeros(2, dtype=torch.bool), 1.0, torch.mean
    )


def test_code_and_reconstruction(ctx):
    assert ctx.output.code.to_dense().tolist() == [[1.0, 0.0]]
    assert ctx.output.recon.tolist() == [[3.5, 3.5]]


@pytest.mark.parametrize(
    ("term", "value"),
    [
        (Reconstruction("squared"), 2.25 + 0.25),
        (Reconstruction("unsquared"), (1.5 + 0.5) / 2),
        (Reconstruction("normalised"), 2.5 / 2),
        (L1("sum"), 1 * (3 + 4)),
        (L1("concat"), 1 * 5),
    ],
)
def test_losses(ctx, term, value):
    assert term(ctx).item() == pytest.approx(value)


def test_gradients_of_the_squared_error(ctx, crosscoder):
    # ∂x̂ = −2e = (3, −1);  ∂f₀ = 3·3 − 1·4 = 5;  ∂W_enc₀ = 5·x
    Reconstruction("squared")(ctx).backward()
    assert crosscoder.b_dec.grad.tolist() == [3.0, -1.0]
    assert crosscoder.W_dec.grad.tolist() == [[3.0, -1.0], [0.0, 0.0]]
    assert crosscoder.b_enc.grad.tolist() == [5.0, 0.0]
    assert crosscoder.W_enc.grad.tolist() == [[10.0, 20.0], [0.0, 0.0]]


def test_norm_scores(crosscoder):
    base, chat = crosscoder.decoder_norms().detach()
    assert relative_norm(chat, base).tolist() == pytest.approx([4 / 7, 1 / 2])
    assert delta_norm(chat, base).tolist() == pytest.approx([0.5 * (1 + 1 / 4), 1 / 2])
