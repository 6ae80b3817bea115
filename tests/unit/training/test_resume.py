"""A run that is interrupted and goes on is the run that was not interrupted, bit for bit."""

import json
import math
import zipfile

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback

from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.relu import ReLU
from crosscoder.data import Mixing
from crosscoder.errors import UserError
from crosscoder.losses.l1 import L1
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training import ActsModule, CrosscoderModule, fit
from crosscoder.training.callbacks import LastCheckpoint
from crosscoder.training.checkpoints import find_checkpoint
from tests.helpers.configs import composed

N_STEPS, BATCH = (
    40,
    300,
)  # of 4,000 tokens: epochs of 13 or 14 batches, each of which leaves some over


class Stop(Exception):
    """Somebody pulled the plug."""


class Unplugged(Callback):
    """A checkpoint after step `at`, a few steps that are lost, and the end."""

    def __init__(self, checkpoint: LastCheckpoint, at: int, lost: int) -> None:
        self.checkpoint, self.at, self.lost = checkpoint, at, lost

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.at and self.checkpoint.every > 0:
            self.checkpoint._save(trainer)
        if trainer.global_step == self.at + self.lost:
            raise Stop


@pytest.fixture
def run(planted_splits, module_of, tmp_path):
    """Return `run(name, kind, at, lost)`: a run that ends early or resumes."""

    def module(kind: str) -> CrosscoderModule:
        made = module_of(
            BatchTopK(3, start=2.0, anneal=0.5) if kind == "batch_topk" else ReLU(), n_steps=N_STEPS
        )
        if kind == "relu":
            losses = {"reconstruction": Reconstruction("squared"), "l1": L1(weight=0.1)}
            made = CrosscoderModule(
                made.crosscoder, losses, made.make_optimizer, n_steps=N_STEPS, l0_target=4.0
            )
        return made

    def run(
        name: str,
        kind: str = "batch_topk",
        at: int = 0,
        lost: int = 0,
        resume: bool = False,
        every: float = 1e9,
    ):
        torch.manual_seed(0)
        trained = module(kind)
        batches = ActsModule(
            Mixing(planted_splits.train, planted_splits.sources, buffer_tokens=1500), BATCH
        )
        real = instantiate(composed().trainer, accelerator="cpu", log_every_n_steps=3)

        def trainer(callbacks, **options):
            (checkpoint,) = [
                callback for callback in callbacks if isinstance(callback, LastCheckpoint)
            ]
            checkpoint.every = every  # but for the first step's
            checkpoint.max_fraction = math.inf
            more = [Unplugged(checkpoint, at, lost)] if at else []
            return real(callbacks=[*callbacks, *more], **options)

        figures = fit(trained, batches, trainer, False, tmp_path / name / "checkpoints", resume)
        return trained.state_dict() | {"random": torch.rand(3)}, figures

    return run


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.parametrize("kind", ["batch_topk", "relu"])
@pytest.mark.parametrize(("at", "lost"), [(1, 3), (13, 1), (14, 5), (27, 2), (39, 1)])
def test_a_run_that_went_on_is_the_run_that_was_never_stopped(run, tmp_path, kind, at, lost):
    whole, figures = run("whole", kind)
    with pytest.raises(Stop):
        run("broken", kind, at, lost)
    assert (
        torch.load(tmp_path / "broken" / "checkpoints" / "last.ckpt", weights_only=True)[
            "global_step"
        ]
        == at
    )
    again, figures_again = run("broken", kind, resume=True)
    assert whole.keys() == again.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor.nan_to_num(), again[name].nan_to_num()), name
    assert figures_again["train_tokens"] == figures["train_tokens"] == N_STEPS * BATCH
    assert figures_again["loss"] == figures["loss"]
    curves = [
        json.loads((tmp_path / name / "curves.json").read_text()) for name in ("whole", "broken")
    ]
    assert curves[0] == curves[1]


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.parametrize("at", [1, 4, 13, 39])
def test_a_checkpoint_holds_what_has_been_counted_by_then(run, tmp_path, at):
    _, figures = run("whole")
    with pytest.raises(Stop):
        run(
            "broken", at=at, every=0.0
        )  # the checkpoint is the one that training itself writes after each step
    assert (
        torch.load(tmp_path / "broken" / "checkpoints" / "last.ckpt", weights_only=True)[
            "global_step"
        ]
        == at
    )
    _, figures_again = run("broken", resume=True)
    seconds = ("train_seconds", "tokens_per_second")
    assert {key: value for key, value in figures_again.items() if key not in seconds} == {
        key: value for key, value in figures.items() if key not in seconds
    }
    curves = [
        json.loads((tmp_path / name / "curves.json").read_text()) for name in ("whole", "broken")
    ]
    assert curves[0] == curves[1]


def test_a_finished_run_can_be_resumed_to_the_same_end(run):
    whole, figures = run("whole")
    again, figures_again = run("whole", resume=True)
    for name, tensor in whole.items():
        if name != "random":
            assert torch.equal(tensor.nan_to_num(), again[name].nan_to_num()), name
    assert figures_again["train_tokens"] == figures["train_tokens"]
    assert figures_again["loss"] == figures["loss"]


def test_without_a_checkpoint_it_begins(run):
    fresh, _ = run("fresh", resume=True)
    whole, _ = run("whole")
    assert all(
        torch.equal(tensor.nan_to_num(), fresh[name].nan_to_num()) for name, tensor in whole.items()
    )


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(run, tmp_path, damage, caplog):
    whole, _ = run("whole")
    with pytest.raises(Stop):
        run("broken", at=20, lost=4)
    last = tmp_path / "broken" / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    if damage == "flipped":
        with zipfile.ZipFile(last) as archive:
            largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        content[largest.header_offset + 500] ^= 0x10
    last.write_bytes(
        {"truncated": content[: len(content) // 2], "flipped": content, "empty": b""}[damage]
    )
    assert find_checkpoint(last.parent) == last.with_name("previous.ckpt")
    assert "last.ckpt cannot be read" in caplog.text
    again, _ = run("broken", resume=True)
    assert all(
        torch.equal(tensor.nan_to_num(), again[name].nan_to_num()) for name, tensor in whole.items()
    )


@pytest.mark.faults
def test_where_none_can_be_read_it_says_so(tmp_path):
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / name).write_bytes(b"not a checkpoint")
    with pytest.raises(
        UserError, match=r"no checkpoint in .* can be read: last.ckpt, previous.ckpt"
    ):
        find_checkpoint(tmp_path)
