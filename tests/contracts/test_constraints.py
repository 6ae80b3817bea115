"""What every constraint in conf/constraint promises, with every activation: it holds after every step, and when folded."""

from functools import partial

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor

from crosscoder.constraints import Constraint, penalties
from crosscoder.losses import LossInput, total
from crosscoder.losses.l1 import L1
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.model import Crosscoder
from crosscoder.training import CrosscoderModule
from tests.configs import activation_of, choices, composed
from tests.small import crosscoder_of, random_acts

N_LATENTS, WIDTH = 120, 6
LOSSES = {"reconstruction": Reconstruction("squared"), "l1": L1(weight=0.1, warmup=0)}


def constraint_of(name: str) -> Constraint:
    (constraint,) = composed(f"constraint=[{name}]").constraint.values()
    return instantiate(constraint)


def weights(crosscoder: Crosscoder) -> list[Tensor]:
    return [weight.detach().clone() for weight in crosscoder.parameters()]


def steps(crosscoder: Crosscoder, constraint: Constraint, n: int = 4) -> CrosscoderModule:
    """Some steps of Adam, whose momentum would carry weights away; after each the constraint must hold."""
    module = CrosscoderModule(crosscoder, LOSSES, partial(torch.optim.Adam, lr=1e-2), constraints=[constraint])
    adam = torch.optim.Adam(crosscoder.parameters(), lr=1e-2)
    for step in range(n):
        acts = random_acts(64, crosscoder.sources.d_total, step)
        dead, penalty = torch.zeros(N_LATENTS, dtype=torch.bool), penalties([constraint], crosscoder)
        given = LossInput(acts, crosscoder(acts), crosscoder, dead, 0.5, torch.mean, penalty)
        adam.zero_grad()
        total(LOSSES, given)[0].backward()
        adam.step()
        module.project()
        before = weights(crosscoder)
        constraint.project(crosscoder)
        torch.testing.assert_close(weights(crosscoder), before, atol=0, rtol=1e-6)
    return module


@pytest.mark.parametrize("activation", choices("activation"))
@pytest.mark.parametrize("name", choices("constraint"))
def test_it_holds_after_every_step_and_the_rest_is_trained(name, activation):
    crosscoder = crosscoder_of(activation_of(activation, N_LATENTS), (WIDTH, WIDTH), N_LATENTS).train()
    before = weights(crosscoder)
    steps(crosscoder, constraint_of(name))
    assert all((a != b).any() for a, b in zip(weights(crosscoder), before, strict=True))


@pytest.mark.parametrize("name", choices("constraint"))
def test_it_holds_before_the_first_step_and_in_training_units_when_folded(name):
    crosscoder = crosscoder_of(activation_of("batch_topk", N_LATENTS), (WIDTH, WIDTH), N_LATENTS).train()
    crosscoder.set_units(torch.zeros(2 * WIDTH), torch.tensor([0.5] * WIDTH + [4.0] * WIDTH))
    constraint = constraint_of(name)
    steps(crosscoder, constraint, n=1)
    norms = crosscoder.fold().decoder_norms()
    torch.testing.assert_close(norms, crosscoder.decoder_norms())


@pytest.mark.parametrize("name", choices("constraint"))
def test_its_penalty_is_a_factor_for_every_latent(name):
    crosscoder = crosscoder_of(activation_of("relu", N_LATENTS), (WIDTH, WIDTH), N_LATENTS)
    penalty = constraint_of(name).penalty(crosscoder)
    assert penalty.shape == (N_LATENTS,)
    assert (penalty >= 0).all()
    torch.testing.assert_close(penalties([constraint_of(name)] * 2, crosscoder), penalty**2)
