"""A run of Lightning's trainer on a device: it trains, it resumes bit for bit, and it repeats."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import SingleDeviceStrategy

from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.model import Crosscoder
from crosscoder.data import Mixing, Scale, Splits
from crosscoder.losses.auxk import AuxK
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training import ActsModule, CrosscoderModule, fit
from crosscoder.training.callbacks import LastCheckpoint
from tests.helpers.configs import composed

N_STEPS, STOP_AT = 12, 5


class PretendAccelerator(CPUAccelerator):
    """Lightning's accelerator of the pretend device."""

    def setup_device(self, device: torch.device) -> None:
        pass


class Stop(Exception):
    """Somebody pulled the plug."""


class StopAt(Callback):
    def __init__(self, checkpoint: LastCheckpoint) -> None:
        self.checkpoint = checkpoint

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == STOP_AT:
            self.checkpoint._save(trainer)
            raise Stop


def choose_device(name: str) -> dict:
    """Return the options of a trainer on this device."""
    if name == "cuda":
        return {"accelerator": "cuda"}
    strategy = SingleDeviceStrategy(torch.device(name, 0), accelerator=PretendAccelerator())
    return {"strategy": strategy, "accelerator": "auto"}


@pytest.fixture
def run(device: str, planted_splits: Splits, tmp_path: Path) -> Callable[..., CrosscoderModule]:
    """Return `run(folder, stops, resume)`: a run on the device."""

    def train(folder: str, stops: bool = False, resume: bool = False) -> CrosscoderModule:
        torch.manual_seed(0)
        crosscoder = Crosscoder(planted_splits.sources, 48, BatchTopK(3, start=2.0, anneal=0.5))
        crosscoder.set_units(*Scale().fit(planted_splits.train, planted_splits.sources))
        losses = {"reconstruction": Reconstruction("normalised"), "auxk": AuxK()}
        adam = partial(torch.optim.Adam, lr=3e-3, fused=True)
        module = CrosscoderModule(crosscoder, losses, adam, n_steps=N_STEPS, dead_after=0.25)
        data = Mixing(planted_splits.train, planted_splits.sources, buffer_tokens=1500)
        make = instantiate(composed().trainer, **choose_device(device))

        def trainer(callbacks, **options):
            more = [StopAt(callbacks[-1])] if stops else []
            return make(callbacks=[*callbacks, *more], **options)

        fit(
            module, ActsModule(data, 300), trainer, False, tmp_path / folder / "checkpoints", resume
        )
        return module

    return train


def test_a_run_repeats_and_resumes_bit_for_bit(run, device):
    first, second = run("first"), run("second")
    with pytest.raises(Stop):
        run("broken", stops=True)
    resumed = run("broken", resume=True)
    assert first.crosscoder.W_enc.device.type == device
    for other in (second, resumed):
        for name, value in first.state_dict().items():
            found = other.state_dict()[name]
            assert torch.equal(found.cpu().nan_to_num(), value.cpu().nan_to_num()), name
