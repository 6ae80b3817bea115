"""Contract of the loss terms in conf/loss, with every activation: they move the weights."""

import pytest
import torch

from crosscoder.losses import LossContext, total
from tests.helpers.configs import activation_of, choices
from tests.helpers.partners import term_of
from tests.helpers.small import crosscoder_of, random_acts

N_LATENTS, WIDTH = 120, 6  # at k = 4, codes are sparse


def carriers(loss: str) -> list[str]:
    """Return the activations with the parameters that a term trains."""
    needs = term_of(loss).requirements.needs
    return [
        name
        for name in choices("activation")
        if needs in ("", activation_of(name, N_LATENTS).requirements.learnable)
    ]


def carrier(loss: str) -> str:
    """Return one of them, if possible one whose codes are sparse by themselves."""
    return max(
        carriers(loss), key=lambda name: (not activation_of(name).requirements.needs_penalty, name)
    )


def make_ctx(
    activation: str, mean=torch.mean, penalty: torch.Tensor | None = None, progress: float = 0.5
) -> LossContext:
    """Return a context halfway through a run, with some dead latents.

    No latent contributes so much that tanh is flat.
    """
    crosscoder = crosscoder_of(
        activation_of(activation, N_LATENTS), (WIDTH, WIDTH), N_LATENTS
    ).train()
    crosscoder.W_dec.data *= 0.1
    acts, dead = random_acts(64, 2 * WIDTH), torch.arange(N_LATENTS) % 4 == 0
    return LossContext(acts, crosscoder(acts), crosscoder, dead, progress, mean, penalty)


every_pair = pytest.mark.parametrize(
    ("loss", "activation"),
    [(loss, activation) for loss in choices("loss") for activation in carriers(loss)],
)
every_loss = pytest.mark.parametrize("loss", choices("loss"))


@every_pair
def test_every_term_moves_the_weights_to_a_smaller_loss(loss, activation):
    before, terms = make_ctx(activation), {loss: term_of(loss)}
    value, parts = total(terms, before)
    value.backward()
    gradients = [w.grad for w in before.crosscoder.parameters() if w.grad is not None]
    assert any(gradient.ne(0).any() for gradient in gradients)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert value.item() == pytest.approx(parts[loss].item())
    size = sum(gradient.square().sum() for gradient in gradients)
    for weight in before.crosscoder.parameters():
        if weight.grad is not None:
            weight.data -= (
                1e-3 * abs(value.item()) / size * weight.grad
            )  # expects to lose a thousandth
    after = LossContext(
        before.acts, before.crosscoder(before.acts), before.crosscoder, before.dead, 0.5, torch.mean
    )
    assert total(terms, after)[0].item() < value.item()


@every_loss
def test_every_term_takes_its_means_over_all_processes(loss):
    asked = []

    def mean(x: torch.Tensor, *dim: int) -> torch.Tensor:
        asked.append((x.shape, dim))
        return x.mean(*dim)

    term_of(loss)(make_ctx(carrier(loss), mean))
    assert asked
    assert all(
        shape == (64,) or (shape[0] == 64 and dim == (0,)) for shape, dim in asked
    )  # over tokens, no others


@every_loss
def test_every_term_is_weighted(loss):
    term = term_of(loss)
    value = term(make_ctx(carrier(loss))).item()
    assert total({loss: term}, make_ctx(carrier(loss)))[0].item() == pytest.approx(
        term.weight * value
    )
