"""A short run on planted activations, with the real trainer."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from crosscoder.core.activations import Activation
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.model import Crosscoder
from crosscoder.data import Mixing, Scale, Splits
from crosscoder.losses.auxk import AuxK
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training import ActsModule, CrosscoderModule, fit
from tests.helpers.configs import composed


@pytest.fixture
def module_of(planted_splits: Splits) -> Callable[..., CrosscoderModule]:
    """`module_of(activation, n_steps=20)`: an untrained crosscoder in its module, units set."""

    def make(
        activation: Activation | None = None, n_steps: int = 20, dead_after: float = 0.25
    ) -> CrosscoderModule:
        crosscoder = Crosscoder(planted_splits.sources, 48, activation or BatchTopK(3))
        crosscoder.set_units(*Scale().fit(planted_splits.train, planted_splits.sources))
        losses = {"reconstruction": Reconstruction("normalised"), "auxk": AuxK()}
        adam = partial(torch.optim.Adam, lr=3e-3)
        return CrosscoderModule(crosscoder, losses, adam, n_steps=n_steps, dead_after=dead_after)

    return make


@pytest.fixture
def batches(planted_splits: Splits) -> ActsModule:
    return ActsModule(Mixing(planted_splits.train, planted_splits.sources), batch_size=128)


@pytest.fixture
def trained(tmp_path: Path, batches: ActsModule) -> Callable[..., dict[str, float]]:
    """`trained(module, *callbacks)`: fit it in `tmp_path`; gives the run's figures."""

    def run(module: CrosscoderModule, *more_callbacks) -> dict[str, float]:
        real = instantiate(composed().trainer, accelerator="cpu")

        def trainer(callbacks, **options):
            return real(callbacks=[*callbacks, *more_callbacks], **options)

        return fit(module, batches, trainer, False, tmp_path / "checkpoints")

    return run
