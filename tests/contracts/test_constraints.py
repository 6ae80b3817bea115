"""What every constraint in conf/constraint promises, with every activation and every loss: it holds after every step, and when
folded. What does not go together is refused.
"""

from collections.abc import Mapping
from functools import cache, partial

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from crosscoder.activations import Activation
from crosscoder.constraints import Constraint, penalties
from crosscoder.errors import UserError
from crosscoder.losses import LossInput, Term, total
from crosscoder.losses.l1 import L1
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.model import Crosscoder
from crosscoder.training import CrosscoderModule
from crosscoder.training.sense import check
from tests.configs import activation_of, choices, composed
from tests.small import crosscoder_of, random_acts

N_LATENTS, WIDTH = 120, 6  # as many rows for each latent as any constraint wants: 2 or 3
LOSSES = {"reconstruction": Reconstruction("squared"), "l1": L1(weight=0.1, warmup=0)}


@cache
def _config(group: str, name: str) -> DictConfig:
    return composed(f"{group}=[{name}]")[group]


def parts(group: str, name: str) -> dict:
    """What `group=[name]` chooses, by name."""
    return {key: instantiate(part) for key, part in _config(group, name).items()}


def constraint_of(name: str) -> Constraint:
    (constraint,) = parts("constraint", name).values()
    return constraint


def penalty_of(activation: Activation) -> dict[str, Term]:
    """The loss that makes it sparse: the one that trains what it learns, else L1."""
    if activation.sparse:
        return {}
    for name in choices("loss"):
        for key, term in parts("loss", name).items():
            if activation.learns and getattr(term, "needs", "") == activation.learns and hasattr(term, "penalises"):
                return {key: term}
    return parts("loss", "l1")


def losses_with(loss: str, activation: Activation) -> dict[str, Term]:
    """A loss with the others without which it, or the activation, makes no sense."""
    chosen = parts("loss", loss)
    squared = {} if {"reconstruction", "matryoshka"} & set(chosen) else parts("loss", "squared")
    return squared | penalty_of(activation) | chosen


def weights(crosscoder: Crosscoder) -> list[Tensor]:
    return [weight.detach().clone() for weight in crosscoder.parameters()]


def steps(
    crosscoder: Crosscoder,
    constraint: Constraint | None,
    losses: Mapping[str, Term] = LOSSES,
    n: int = 4,
    l0_target: float | None = None,
) -> None:
    """Some steps of Adam, whose momentum would carry weights away; after each the constraint must hold."""
    constraints = [] if constraint is None else [constraint]
    adam_of = partial(torch.optim.Adam, lr=1e-2)
    module = CrosscoderModule(crosscoder, losses, adam_of, constraints=constraints, l0_target=l0_target)
    adam = adam_of(crosscoder.parameters())
    for step in range(n):
        acts, dead = random_acts(64, crosscoder.sources.d_total, step), torch.arange(N_LATENTS) % 4 == 0
        given = LossInput(acts, crosscoder(acts), crosscoder, dead, 0.5, torch.mean, module.penalty())
        module.pressure.update(given.output.code.l0().mean())
        loss, summands = total(losses, given)
        assert all(summand.isfinite() for summand in summands.values()), summands
        adam.zero_grad()
        loss.backward()
        for name, weight in crosscoder.named_parameters():
            assert weight.grad.isfinite().all(), name
            assert weight.grad.ne(0).any(), name
        adam.step()
        module.project()
        before = weights(crosscoder)
        for each in constraints:
            each.project(crosscoder)
        torch.testing.assert_close(weights(crosscoder), before, atol=0, rtol=1e-6)


@pytest.mark.parametrize("activation", choices("activation"))
@pytest.mark.parametrize("name", choices("constraint"))
def test_it_holds_after_every_step_and_the_rest_is_trained(name, activation):
    crosscoder = crosscoder_of(activation_of(activation, N_LATENTS), (WIDTH, WIDTH), N_LATENTS).train()
    before = weights(crosscoder)
    steps(crosscoder, constraint_of(name))
    assert all((a != b).any() for a, b in zip(weights(crosscoder), before, strict=True))


@pytest.mark.parametrize("constraint", [None, *choices("constraint")])
@pytest.mark.parametrize("loss", choices("loss"))
@pytest.mark.parametrize("name", choices("activation"))
def test_what_goes_together_trains_and_what_does_not_is_refused_by_name(name, loss, constraint):
    activation = activation_of(name, N_LATENTS)
    (key, term), *_ = parts("loss", loss).items()
    losses = losses_with(loss, activation)
    constraints = {} if constraint is None else parts("constraint", constraint)
    refusal = None
    if getattr(term, "needs", "") not in ("", activation.learns):
        refusal = f"loss {key} trains {term.needs}, which activation .*{name} has not"
    elif hasattr(term, "claims") and any(hasattr(each, "claims") for each in constraints.values()):
        refusal = f"{constraint} gives .*, {key} to .*: take one of them"
    l0_target = None if activation.sparse else 8.0
    if refusal:
        with pytest.raises(UserError, match=refusal):
            check(activation, losses, constraints, l0_target)
        return
    check(activation, losses, constraints, l0_target)
    crosscoder = crosscoder_of(activation, (WIDTH, WIDTH), N_LATENTS).train()
    steps(crosscoder, next(iter(constraints.values()), None), losses, 2, l0_target)


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
