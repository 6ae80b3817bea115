"""L1 invents exclusive latents, the norm of the concatenation does not: losses against formulas.

For a fixed code f, E‖e − f d‖² + μ E[f] ‖d‖ is least at d ∥ E[f e] with ‖d‖ = max(0, (‖E[f e]‖ − μ
E[f] / 2) / E[f²]): a soft threshold, exactly zero below it (Complete Shrinkage). With the norm of
both decoders side by side there is no kink at zero.
"""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscoder.core.activations.relu import ReLU
from crosscoder.core.model import Crosscoder, Output
from crosscoder.core.sparse import DenseCode
from crosscoder.losses.base import LossContext
from crosscoder.losses.l1 import L1
from crosscoder.losses.reconstruction import Reconstruction
from tests.helpers.small import sources_of

WIDTH, N = 5, 400


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor, Tensor]:
    """Draw a code [N] and the activations of base and chat, which has more of the latent."""
    generator = torch.Generator().manual_seed(0)
    f = torch.rand(N, generator=generator).double().square()
    direction = normalize(torch.randn(WIDTH, generator=generator).double(), dim=0)
    base = 0.3 * f[:, None] * direction + 0.1 * torch.randn(N, WIDTH, generator=generator).double()
    return (
        f,
        base,
        2.0 * f[:, None] * direction + 0.1 * torch.randn(N, WIDTH, generator=generator).double(),
    )


def loss(
    data: tuple[Tensor, Tensor, Tensor], d_base: Tensor, d_chat: Tensor, norm: str, mu: float
) -> Tensor:
    """Return our loss of one latent with these decoders."""
    f, base, chat = data
    crosscoder = Crosscoder(
        sources_of(WIDTH, WIDTH), 1, ReLU(), init=lambda *_: (torch.zeros(1, 2 * WIDTH),) * 2
    ).double()
    decoder = torch.cat([d_base, d_chat])[None]
    torch.nn.Module.__delattr__(crosscoder, "W_dec")
    crosscoder.W_dec = decoder  # type: ignore[assignment]
    code = DenseCode(f[:, None])
    output = Output(code, code.decode(decoder), lambda latents: f[:, None])
    ctx = LossContext(
        torch.cat([base, chat], dim=1),
        output,
        crosscoder,
        torch.zeros(1, dtype=torch.bool),
        1.0,
        torch.mean,
    )
    return Reconstruction("squared")(ctx) + mu * L1(norm)(ctx)


def formula(f: Tensor, e: Tensor, mu: float) -> Tensor:
    mass = (f[:, None] * e).mean(0)
    size = ((mass.norm() - mu * f.mean() / 2) / f.square().mean()).clamp(min=0)
    return size * mass / mass.norm()


def minimiser(data: tuple[Tensor, Tensor, Tensor], norm: str, mu: float) -> tuple[Tensor, Tensor]:
    """By gradient descent from somewhere else."""
    d_base, d_chat = (
        torch.full((WIDTH,), 0.5, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    optimizer = torch.optim.LBFGS(
        [d_base, d_chat],
        max_iter=400,
        tolerance_grad=1e-12,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(data, d_base, d_chat, norm, mu)
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(closure)
    return d_base.detach(), d_chat.detach()


def threshold(f: Tensor, e: Tensor) -> float:
    """Return the μ from which a decoder is zero."""
    return float(2 * (f[:, None] * e).mean(0).norm() / f.mean())


@pytest.mark.parametrize("share", [0.2, 0.7, 0.95])
def test_below_the_threshold_l1_shrinks_by_the_formula(data, share):
    f, base, chat = data
    mu = share * threshold(f, base)
    d_base, d_chat = minimiser(data, "sum", mu)
    torch.testing.assert_close(d_base, formula(f, base, mu), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(d_chat, formula(f, chat, mu), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("times", [1.05, 2.0, 5.0])
def test_above_it_exact_zero_is_optimal_although_base_has_the_concept(data, times):
    f, base, chat = data
    mu = times * threshold(f, base)
    assert mu < threshold(f, chat)  # chat keeps its decoder, so the latent looks chat-only
    zero, d_chat = formula(f, base, mu), formula(f, chat, mu)
    assert (zero == 0).all()
    assert d_chat.norm() > 0.1
    best = loss(data, zero, d_chat, "sum", mu)
    for direction in torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(1)).double():
        for size in (1e-6, 1e-3, 0.1):
            assert loss(data, size * normalize(direction, dim=0), d_chat, "sum", mu) > best


@pytest.mark.parametrize("times", [0.5, 1.05, 2.0, 5.0])
def test_the_norm_of_the_concatenation_never_gives_exact_zeros(data, times):
    f, base, _ = data
    mu = times * threshold(f, base)
    d_base, d_chat = minimiser(data, "concat", mu)
    assert d_chat.norm() > 0.1
    assert d_base.norm() > 1e-3
    at_zero = torch.zeros(WIDTH, dtype=torch.float64, requires_grad=True)
    loss(data, at_zero, d_chat, "concat", mu).backward()
    assert at_zero.grad is not None
    torch.testing.assert_close(
        at_zero.grad, -2 * (f[:, None] * base).mean(0)
    )  # the penalty has no say at zero
