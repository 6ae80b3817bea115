"""A rehearsal: one training step on noise, before hours are spent on a harvest.

Errors that would otherwise only occur in training (a loss that does not fit the sources, a
precision that the optimizer does not support) occur here. Streams are narrow, so that it takes no
time. Equal widths stay equal, and the number of latents is that of the run.
"""

import copy
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import torch

from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.core.types import Acts
from crosscoder.errors import UserError, first_line
from crosscoder.io.scratch import scratch_folder
from crosscoder.training.datamodule import ActsModule
from crosscoder.training.module import CrosscoderModule, calibrate_activation
from crosscoder.training.recipe import Recipe
from crosscoder.training.trainer import build_trainer

N_TOKENS = 8
WIDTH = 4  # of the narrowest stream


@dataclass(frozen=True)
class Noise:
    """Supply of random activations, [batch, d_total]."""

    d_total: int

    def __len__(self) -> int:
        return N_TOKENS

    def iter_batches(
        self, batch_size: int, seed: int = 0, first: int = 0, process: tuple[int, int] = (0, 1)
    ) -> Generator[Acts, None, None]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield torch.randn(batch_size, self.d_total, generator=generator)

    def iter_in_order(self, batch_size: int) -> Iterator[Acts]:
        yield next(self.iter_batches(batch_size))


def rehearse(recipe: Recipe, sources: Sources) -> None:
    """Train one step by a recipe on narrow sources, in this process alone.

    Raises:
        UserError: Training would fail; the message gives the reason.
    """
    narrow = _make_narrow(sources)
    try:
        crosscoder = Crosscoder(
            narrow, recipe.n_latents, copy.deepcopy(recipe.activation), recipe.init, recipe.seed
        )
        module = CrosscoderModule.from_recipe(recipe, crosscoder, n_steps=1)
        noise = Noise(narrow.d_total)
        batches = ActsModule(noise, N_TOKENS)
        # of several GPUs, torch wants to be told which one is used
        gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with scratch_folder() as folder, torch.random.fork_rng(gpus):
            build_trainer(recipe.require_trainer(), 1, folder, logger=False).fit(module, batches)
        calibrate_activation(crosscoder, noise.iter_in_order(N_TOKENS))
        crosscoder.fold()
    except UserError as error:
        raise UserError(str(error).replace(narrow.describe(), sources.describe())) from error
    except Exception as error:  # anything that a setting can cause in a library
        reason = first_line(error)
        raise UserError(
            f"training would fail with these settings: {type(error).__name__}: {reason}"
        ) from error


def _make_narrow(sources: Sources) -> Sources:
    """Return the same streams with the smallest widths."""
    widths = sorted(set(sources.widths))
    items = tuple(replace(source, width=WIDTH + widths.index(source.width)) for source in sources)
    return Sources(items, sources.diff_pair)
