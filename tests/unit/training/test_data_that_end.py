"""Batches that end early: training ends, the run is finished, and a resumed one ends alike."""

import logging
from itertools import islice

import pytest
import torch
from hydra.utils import instantiate

from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.data import Mixing
from crosscoder.training import ActsModule, fit
from crosscoder.training.callbacks import LastCheckpoint
from tests.helpers.configs import composed
from tests.unit.training.test_resume import Stop, Unplugged

N_STEPS, BATCH, THERE = 40, 300, 23


class Ending(Mixing):
    """A store's batches, up to number 23."""

    def iter_batches(self, batch_size, seed=0, first=0, process=(0, 1)):
        yield from islice(
            super().iter_batches(batch_size, seed, first, process), max(0, THERE - first)
        )


@pytest.fixture
def run(planted_splits, module_of, tmp_path):
    """Return `run(name, at, resume)`: a run that is killed after a checkpoint at step `at`."""

    def run(name: str, at: int = 0, resume: bool = False):
        torch.manual_seed(0)
        module = module_of(BatchTopK(3, start=2.0, anneal=0.5), n_steps=N_STEPS)
        batches = ActsModule(Ending(planted_splits.train, planted_splits.sources), BATCH)
        real = instantiate(composed().trainer, accelerator="cpu", log_every_n_steps=3)

        def trainer(callbacks, **options):
            (checkpoint,) = [
                callback for callback in callbacks if isinstance(callback, LastCheckpoint)
            ]
            checkpoint.every = 1e9
            more = [Unplugged(checkpoint, at, 1)] if at else []
            return real(callbacks=[*callbacks, *more], **options)

        figures = fit(module, batches, trainer, False, tmp_path / name / "checkpoints", resume)
        return module, figures

    return run


def test_training_ends_with_the_data_and_says_how_much_it_was(run, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "crosscoder"):
        module, figures = run("whole")
    assert figures["train_tokens"] == THERE * BATCH
    assert module.crosscoder.activation.threshold > 0  # fitted, as at the end of any run
    assert [record.getMessage() for record in caplog.records] == [
        f"the training data end after step {THERE} of {N_STEPS}, so training ends here"
    ]
    assert (
        torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=True)[
            "global_step"
        ]
        == THERE
    )


@pytest.mark.long
@pytest.mark.parametrize("at", [1, 10, THERE - 1])
def test_a_run_that_went_on_ends_there_too(run, at):
    whole, figures = run("whole")
    with pytest.raises(Stop):
        run("broken", at)
    again, figures_again = run("broken", resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), again.state_dict()[name].nan_to_num()), name
    assert figures_again["train_tokens"] == figures["train_tokens"] == THERE * BATCH
    assert figures_again["loss"] == figures["loss"]


def test_a_run_that_had_ended_is_resumed_to_the_same_end(run):
    whole, figures = run("whole")
    again, figures_again = run("whole", resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), again.state_dict()[name].nan_to_num()), name
    assert figures_again["train_tokens"] == figures["train_tokens"]
