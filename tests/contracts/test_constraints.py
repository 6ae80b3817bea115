"""Contract of the constraints in conf/constraint, with every activation and every loss.

A constraint holds after every step and after folding. Combinations that cannot train are refused.
"""

from collections.abc import Mapping
from functools import partial

import pytest
import torch
from torch import Tensor

from crosscoder.constraints import Constraint, penalties
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.losses import LossContext, Term, total
from crosscoder.losses.l1 import L1
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training import CrosscoderModule
from crosscoder.training.compatibility import check_compatibility
from tests.helpers.configs import activation_of, choices
from tests.helpers.partners import built, losses_with, term_of
from tests.helpers.small import crosscoder_of, random_acts

N_LATENTS, WIDTH = (
    120,
    6,
)  # a multiple of 2 and 3, for constraints with two or three rows per latent
LOSSES = {"reconstruction": Reconstruction("squared"), "l1": L1(weight=0.1, warmup=0)}


def constraint_of(name: str) -> Constraint:
    (constraint,) = built("constraint", name).values()
    return constraint


def weights(crosscoder: Crosscoder) -> list[Tensor]:
    return [weight.detach().clone() for weight in crosscoder.parameters()]


def steps(
    crosscoder: Crosscoder,
    constraint: Constraint | None,
    losses: Mapping[str, Term] = LOSSES,
    n: int = 4,
    l0_target: float | None = None,
) -> None:
    """Take steps of Adam, whose momentum moves weights off the constraint; check it after each."""
    constraints = [] if constraint is None else [constraint]
    adam_of = partial(torch.optim.Adam, lr=1e-2)
    module = CrosscoderModule(
        crosscoder, losses, adam_of, constraints=constraints, l0_target=l0_target
    )
    adam = adam_of(crosscoder.parameters())
    for step in range(n):
        acts, dead = (
            random_acts(64, crosscoder.sources.d_total, step),
            torch.arange(N_LATENTS) % 4 == 0,
        )
        ctx = LossContext(
            acts, crosscoder(acts), crosscoder, dead, 0.5, torch.mean, module.penalty()
        )
        module.pressure.update(ctx.output.code.l0().mean())
        loss, summands = total(losses, ctx)
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
    crosscoder = crosscoder_of(
        activation_of(activation, N_LATENTS), (WIDTH, WIDTH), N_LATENTS
    ).train()
    before = weights(crosscoder)
    steps(crosscoder, constraint_of(name))
    assert all((a != b).any() for a, b in zip(weights(crosscoder), before, strict=True))


@pytest.mark.parametrize("constraint", [None, *choices("constraint")])
@pytest.mark.parametrize("loss", choices("loss"))
@pytest.mark.parametrize("name", choices("activation"))
def test_every_combination_trains_or_is_refused_by_name(name, loss, constraint):
    activation = activation_of(name, N_LATENTS)
    (key,) = built("loss", loss)
    term = term_of(loss).requirements
    losses = built("loss", *losses_with([loss], activation.requirements))
    constraints = {} if constraint is None else built("constraint", constraint)
    refusal = None
    claims = [each.requirements.claims for each in constraints.values()]
    if term.needs not in ("", activation.requirements.learnable):
        refusal = f"loss {key} needs an activation with learnable {term.needs}; {name} has none"
    elif term.claims and any(claims):
        refusal = f"{constraint} assigns roles to .* and {key} to .*: choose one of them"
    l0_target = 8.0 if activation.requirements.needs_penalty else None
    if refusal:
        with pytest.raises(UserError, match=refusal):
            check_compatibility(activation, losses, constraints, l0_target)
        return
    check_compatibility(activation, losses, constraints, l0_target)
    crosscoder = crosscoder_of(activation, (WIDTH, WIDTH), N_LATENTS).train()
    steps(crosscoder, next(iter(constraints.values()), None), losses, 2, l0_target)


@pytest.mark.parametrize("name", choices("constraint"))
def test_it_holds_before_the_first_step_and_in_training_units_when_folded(name):
    crosscoder = crosscoder_of(
        activation_of("batch_topk", N_LATENTS), (WIDTH, WIDTH), N_LATENTS
    ).train()
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
