"""What every loss term in conf/loss promises, with every activation: it is part of the loss, and it moves the weights."""

import pytest
import torch
from hydra.utils import instantiate

from crosscoder.losses import LossInput, Term, total
from tests.configs import activation_of, choices, composed
from tests.small import crosscoder_of, random_acts

N_LATENTS, WIDTH = 120, 6  # at k = 4, codes are sparse


def term_of(loss: str) -> Term:
    (term,) = composed(f"loss=[{loss}]").loss.values()
    return instantiate(term)


def given(activation: str, mean=torch.mean) -> LossInput:
    """What a term sees halfway through a run, with some latents dead."""
    crosscoder = crosscoder_of(activation_of(activation, N_LATENTS), (WIDTH, WIDTH), N_LATENTS).train()
    acts, dead = random_acts(64, 2 * WIDTH), torch.arange(N_LATENTS) % 4 == 0
    return LossInput(acts, crosscoder(acts), crosscoder, dead, 0.5, mean)


every_pair = pytest.mark.parametrize(
    ("loss", "activation"), [(loss, activation) for loss in choices("loss") for activation in choices("activation")]
)


@every_pair
def test_every_term_moves_the_weights_to_a_smaller_loss(loss, activation):
    before, terms = given(activation), {loss: term_of(loss)}
    value, parts = total(terms, before)
    value.backward()
    gradients = [w.grad for w in before.crosscoder.parameters() if w.grad is not None]
    assert any(gradient.ne(0).any() for gradient in gradients)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert value.item() == pytest.approx(parts[loss].item())
    size = sum(gradient.square().sum() for gradient in gradients)
    for weight in before.crosscoder.parameters():
        if weight.grad is not None:
            weight.data -= 1e-3 * abs(value.item()) / size * weight.grad  # expects to lose a thousandth
    after = LossInput(before.acts, before.crosscoder(before.acts), before.crosscoder, before.dead, 0.5, torch.mean)
    assert total(terms, after)[0].item() < value.item()


@pytest.mark.parametrize("loss", choices("loss"))
def test_every_term_takes_its_means_over_all_processes(loss):
    asked = []

    def mean(x: torch.Tensor) -> torch.Tensor:
        asked.append(x.shape)
        return x.mean()

    term_of(loss)(given("topk", mean))
    assert asked
    assert all(shape == (64,) for shape in asked)


@pytest.mark.parametrize("loss", choices("loss"))
def test_every_term_is_weighted(loss):
    term = term_of(loss)
    value = term(given("topk")).item()
    assert total({loss: term}, given("topk"))[0].item() == pytest.approx(term.weight * value)
