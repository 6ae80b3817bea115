"""What a run leaves behind, and what it leaves when it goes wrong."""

import math
import signal
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from crosscoder.data import Mixing
from crosscoder.errors import UserError
from crosscoder.training.callbacks import LastCheckpoint

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class AtStep(Callback):
    """Does something once a step is done."""

    def __init__(self, step: int, do) -> None:
        self.step, self.do = step, do

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            self.do(pl_module)


def checkpoint_in(tmp_path) -> dict:
    """`last.ckpt`, read without unpickling anything."""
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} <= {
        "last.ckpt",
        "previous.ckpt",
    }
    return torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)


def test_a_run_ends_with_its_figures_and_a_checkpoint_of_its_last_step(
    module_of, trained, tmp_path
):
    module = module_of(n_steps=20)
    figures = trained(module)
    assert figures["train_tokens"] == 20 * 128
    assert figures["tokens_per_second"] == pytest.approx(20 * 128 / figures["train_seconds"])
    assert 0 < figures["loss"] < 2
    saved = checkpoint_in(tmp_path)
    assert saved["global_step"] == 20
    for name in ("crosscoder.W_dec", "crosscoder.mean", "dead.tokens_since_fired"):
        assert torch.equal(saved["state_dict"][name], module.state_dict()[name])
    assert saved["optimizer_states"][0]["state"]


def poison_weights(module) -> None:
    """Set all weights to NaN, as clipping does after a gradient that is not finite."""
    for weight in module.crosscoder.parameters():
        weight.data.fill_(torch.nan)


@pytest.mark.faults
@pytest.mark.parametrize(
    "what", ["gradients of the step before, and so in the weights,", "activations"]
)
def test_nan_stops_the_run_says_where_and_keeps_the_good_checkpoint(
    module_of, trained, tmp_path, monkeypatch, what, planted_splits
):
    if what == "activations":
        batches = Mixing.iter_batches

        def poisoned(*args):
            for number, batch in enumerate(batches(*args)):
                yield torch.full_like(batch, torch.nan) if number == 7 else batch

        monkeypatch.setattr(Mixing, "iter_batches", poisoned)
        poison = AtStep(-1, None)
    else:
        poison = AtStep(7, poison_weights)
    with pytest.raises(UserError, match=f"NaN or infinity in the {what} at step 7"):
        trained(module_of(n_steps=20), poison)
    saved = checkpoint_in(tmp_path)
    assert 0 < saved["global_step"] <= 7
    assert all(
        weight.isfinite().all()
        for name, weight in saved["state_dict"].items()
        if "frozen" not in name
    )


@pytest.mark.faults
@pytest.mark.parametrize("step", [7, 19])  # of 20: after the last one no loss would tell
def test_nan_in_a_gradient_stops_the_run_and_keeps_the_good_checkpoint(
    module_of, trained, tmp_path, step
):
    module = module_of(n_steps=20)
    one_entry = torch.zeros(module.crosscoder.W_enc.shape)
    one_entry[3, 5] = torch.nan
    module.crosscoder.W_enc.register_hook(
        lambda grad: grad + one_entry if module.global_step == step else grad
    )
    with pytest.raises(
        UserError, match=rf"NaN or infinity in the .* at step {step + 1}; last.ckpt is from before"
    ):
        trained(module)
    saved = checkpoint_in(tmp_path)
    assert 0 < saved["global_step"] <= step
    assert all(
        weight.isfinite().all()
        for name, weight in saved["state_dict"].items()
        if "frozen" not in name
    )


@pytest.mark.faults
def test_weights_that_are_not_finite_never_replace_a_checkpoint(module_of, trained, tmp_path):
    after_every_step = LastCheckpoint(tmp_path / "often", every=0.0, max_fraction=math.inf)
    with pytest.raises(UserError, match="at step 5"):
        trained(module_of(n_steps=20), AtStep(5, poison_weights), after_every_step)
    saved = torch.load(after_every_step.path, weights_only=True)
    assert saved["global_step"] == 4
    assert saved["state_dict"]["crosscoder.W_enc"].isfinite().all()


def test_a_checkpoint_is_as_rare_as_its_share_of_the_time_asks(
    module_of, trained, tmp_path, monkeypatch
):
    often, rare = (
        LastCheckpoint(tmp_path / str(share), every=0.0, max_fraction=share)
        for share in (math.inf, 1e-9)
    )
    written: list[str] = []

    def save(_: L.Trainer, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        written.append(path.parent.name)

    monkeypatch.setattr(L.Trainer, "save_checkpoint", save)
    trained(module_of(n_steps=10), often, rare)
    assert written.count("inf") == 10 + 1  # after every step, and at the end
    assert written.count("1e-09") == 1 + 1  # after the first, and at the end


@pytest.mark.faults
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_run_after_the_batch_under_way_with_a_checkpoint(
    module_of, trained, tmp_path, number
):
    handlers = [signal.getsignal(s) for s in SIGNALS]
    with pytest.raises(SystemExit) as exit:
        trained(module_of(n_steps=20), AtStep(6, lambda _: signal.raise_signal(number)))
    assert exit.value.code == 130
    assert checkpoint_in(tmp_path)["global_step"] == 6
    assert [signal.getsignal(s) for s in SIGNALS] == handlers


def test_signals_are_as_before_after_a_run(module_of, trained):
    handlers = [signal.getsignal(s) for s in SIGNALS]
    trained(module_of(n_steps=2))
    assert [signal.getsignal(s) for s in SIGNALS] == handlers


@pytest.mark.long
def test_the_same_seed_gives_the_same_run(module_of, trained, batches):
    runs = []
    for _ in range(2):
        module = module_of(n_steps=10)
        trained(module)
        runs.append(module.state_dict())
    for name, tensor in runs[0].items():
        assert torch.equal(tensor.nan_to_num(), runs[1][name].nan_to_num()), name
