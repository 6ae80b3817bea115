"""A penalty that is brought to the L0 one wants."""

import math
from functools import partial

import pytest
import torch

from crosscoder.core.activations.relu import ReLU
from crosscoder.core.model import Crosscoder
from crosscoder.data import Scale
from crosscoder.errors import UserError
from crosscoder.losses.l1 import L1
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training import CrosscoderModule
from crosscoder.training.l0_controller import L0Controller

TARGET = 3.0


@pytest.fixture
def module_of(planted_splits):
    """Return `module_of(weight)`: a ReLU crosscoder with this L1 weight and L0* = TARGET."""

    def make(
        weight: float, n_steps: int = 600, l0_target: float | None = TARGET
    ) -> CrosscoderModule:
        crosscoder = Crosscoder(planted_splits.sources, 48, ReLU())
        crosscoder.set_units(*Scale().fit(planted_splits.train, planted_splits.sources))
        losses = {"reconstruction": Reconstruction("squared"), "l1": L1(weight=weight)}
        adam = partial(torch.optim.Adam, lr=3e-3)
        return CrosscoderModule(crosscoder, losses, adam, n_steps=n_steps, l0_target=l0_target)

    return make


def test_the_weight_follows_l0_and_removes_what_is_left():
    pressure, log_weight, before = (
        L0Controller(target=8.0, n_steps=50, rate=5.0, damping=0.5),
        0.0,
        None,
    )
    for l0 in (1.0, 7.5, 8.0, 9.0, 15.9, 16.0, 17.0, 4000.0):
        pressure.update(torch.tensor(l0))
        error = math.log(l0 / 8)
        log_weight += 5.0 / 50 * max(-1.0, min(1.0, error)) + (
            0.5 * (error - before) if before is not None else 0
        )
        before = error
        assert pressure.weight.item() == pytest.approx(math.exp(log_weight), rel=1e-4)


def test_at_its_target_a_penalty_stays():
    pressure = L0Controller(target=8.0, n_steps=50)
    pressure.update(torch.tensor(8.0))
    assert pressure.weight.item() == 1.0


@pytest.mark.parametrize(("l0", "exponent"), [(1e6, 3.0), (0.0, -3.0)])
def test_over_a_run_it_changes_by_no_more_than_its_rate(l0, exponent):
    pressure = L0Controller(target=8.0, n_steps=50, rate=3.0)
    for _ in range(50):
        pressure.update(torch.tensor(l0))
    assert pressure.weight.item() == pytest.approx(math.exp(exponent), rel=1e-4)


def test_without_a_target_penalties_are_as_they_are(module_of):
    pressure = L0Controller(target=None, n_steps=50)
    pressure.update(torch.tensor(1e6))
    assert pressure.weight.item() == 1.0
    assert module_of(1.0, l0_target=None).penalty() is None


def test_every_penalty_is_multiplied_by_it(module_of):
    module = module_of(1.0)
    module.pressure.log_weight.fill_(math.log(2.5))
    assert module.penalty().tolist() == pytest.approx([2.5] * 48)


def test_it_is_part_of_the_checkpoint(module_of):
    module, other = module_of(1.0), module_of(1.0)
    module.pressure.update(torch.tensor(100.0))
    other.load_state_dict(module.state_dict())
    assert other.pressure.weight.item() == module.pressure.weight.item() > 1
    for pressure in (module.pressure, other.pressure):
        pressure.update(torch.tensor(50.0))  # it knows the step before
    assert other.pressure.weight.item() == module.pressure.weight.item()


@pytest.mark.parametrize("target", [0.0, -2.0])
def test_a_target_that_is_no_number_of_latents_is_refused(target):
    with pytest.raises(UserError, match=f"l0_target is positive, not {target}"):
        L0Controller(target, n_steps=50)


@pytest.mark.long
@pytest.mark.parametrize("weight", [0.003, 2.0], ids=["too mild", "too strong"])
def test_an_l1_is_trained_to_the_l0_aimed_at(module_of, trained, weight):
    module, l0 = module_of(weight), []
    module.crosscoder.register_forward_hook(
        lambda _, __, output: l0.append(output.code.l0().mean().item())
    )
    trained(module)
    assert l0[0] > 2 * TARGET
    assert sum(l0[-50:]) / 50 == pytest.approx(TARGET, rel=0.15)
    assert (module.pressure.weight.item() > 1) == (weight < 1)
