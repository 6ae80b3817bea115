"""A training step on a device equals that on the CPU: every activation, loss and constraint."""

from functools import partial

import pytest
import torch

from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.losses import LossContext, total
from crosscoder.training import CrosscoderModule
from crosscoder.training.compatibility import check_compatibility
from tests.helpers.configs import activation_of, choices
from tests.helpers.partners import activation_for, built, losses_with, term_of
from tests.helpers.small import crosscoder_of, random_acts

N_LATENTS, WIDTH = 120, 6  # a multiple of 2 and 3, for constraints with several rows per latent


def take_steps(name: str, loss: str, constraint: str | None, device: str, n: int = 2) -> Crosscoder:
    """Take steps of Adam on a device, as CrosscoderModule takes them; return what was trained."""
    activation = activation_of(name, N_LATENTS)
    losses = losses_with([loss], activation.requirements)
    terms = built("loss", *losses)
    constraints = {} if constraint is None else built("constraint", constraint)
    l0_target = 8.0 if activation.requirements.needs_penalty else None
    check_compatibility(activation, terms, constraints, l0_target)
    crosscoder = crosscoder_of(activation, (WIDTH, WIDTH), N_LATENTS).train()
    adam_of = partial(torch.optim.Adam, lr=1e-2, fused=True)
    module = CrosscoderModule(
        crosscoder, terms, adam_of, constraints=list(constraints.values()), l0_target=l0_target
    ).to(device)
    adam = adam_of(module.crosscoder.parameters())
    for step in range(n):
        acts = module.crosscoder.normalise(random_acts(64, 2 * WIDTH, step).to(device))
        crosscoder.activation.set_progress(0.5)
        output = crosscoder(acts)
        module.dead.update(output.code)
        dead = module.dead.mask(after=64)
        ctx = LossContext(acts, output, crosscoder, dead, 0.5, torch.mean, module.penalty())
        if l0_target:
            module.pressure.update(ctx.mean(output.code.l0()))
        loss, _ = total(terms, ctx)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(crosscoder.parameters(), 1.0)
        adam.step()
        module.project()
        adam.zero_grad()
    return crosscoder


def require_equal_steps(name: str, loss: str, constraint: str | None, device: str) -> None:
    try:
        expected = take_steps(name, loss, constraint, "cpu")
    except UserError:  # a combination that cannot train; tests/contracts covers the refusal
        return
    trained = take_steps(name, loss, constraint, device)
    assert trained.W_enc.device.type == device
    for (key, found), value in zip(
        trained.state_dict().items(), expected.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(
            found.cpu(), value, atol=1e-4, rtol=1e-3, equal_nan=True, msg=lambda m, key=key: key + m
        )


@pytest.mark.parametrize("loss", choices("loss"))
def test_a_step_with_a_loss_equals_that_on_the_cpu(device, loss):
    needs = term_of(loss).requirements.needs
    require_equal_steps(activation_for(needs) or "batch_topk", loss, None, device)


@pytest.mark.parametrize("constraint", choices("constraint"))
def test_a_step_with_a_constraint_equals_that_on_the_cpu(device, constraint):
    require_equal_steps("batch_topk", "auxk", constraint, device)


@pytest.mark.long
@pytest.mark.parametrize("constraint", [None, *choices("constraint")])
@pytest.mark.parametrize("loss", choices("loss"))
@pytest.mark.parametrize("name", choices("activation"))
def test_every_combination_equals_that_on_the_cpu(device, name, loss, constraint):
    require_equal_steps(name, loss, constraint, device)
