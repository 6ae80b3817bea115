"""Tokens per second of `trainer.fit` and of the bare training step.

The ratio is the cost of Lightning, logging and data loading. Both take turns of a few steps on the
same kind of activations; no latent counts as dead, and the logger is the main job's. The first turn
is not counted, because both still allocate memory.
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch
import wandb
import yaml
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback

from benchmarks.inputs import pair, random_store
from benchmarks.measure import Step, arguments, report, synchronise, timed
from benchmarks.train_step import Size, ours
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.data import Mixing, Store
from crosscoder.installation import find_conf
from crosscoder.losses.auxk import AuxK
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training import ActsModule, CrosscoderModule, fit

CONF = find_conf()


class Turns(Callback):
    """After every `length` steps of the trainer, as many bare ones; seconds of each turn."""

    def __init__(self, step: Step, length: int) -> None:
        self.step, self.length = step, length
        self.fit: list[float] = []
        self.bare: list[float] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begin = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.global_step % self.length:
            return
        synchronise()
        self.fit.append(time.perf_counter() - self._begin)
        self.bare.append(timed(lambda: [self.step() for _ in range(self.length)]))
        self._begin = time.perf_counter()


def take_turns(
    sources: Sources, store: Store, n_latents: int, k: int, batch: int, args: Any, folder: Path
) -> Turns:
    """Run the trainer once, interrupted by bare steps."""
    losses = {"reconstruction": Reconstruction("unsquared"), "auxk": AuxK()}
    module = CrosscoderModule(
        Crosscoder(sources, n_latents, BatchTopK(k)),
        losses,
        partial(torch.optim.Adam, lr=1e-4, fused=True),
        n_steps=(args.turns + 1) * args.length,
        dead_after=1.0,
    )
    taken = Turns(
        ours(Size(n_latents, args.width, k, batch, args.device))["ours"],
        args.length,
    )
    trainer = instantiate(yaml.safe_load((CONF / "trainer" / "default.yaml").read_text()))
    logger = {
        **yaml.safe_load((CONF / "logger" / "wandb.yaml").read_text()),
        "save_dir": str(folder),
        "mode": "offline",
    }
    fit(
        module,
        ActsModule(Mixing(store, sources), batch),
        lambda callbacks, **options: trainer(callbacks=[*callbacks, taken], **options),
        instantiate(logger),
        folder / "checkpoints",
    )
    wandb.finish()
    return taken


def row(n_latents: int, k: int, batch: int, taken: Turns) -> dict[str, float]:
    """Return the row of one size."""
    whole, bare = taken.fit[1:], taken.bare[1:]
    return {
        "n_latents": n_latents,
        "k": k,
        "batch": batch,
        "fit_tokens_per_second": batch * taken.length / median(whole),
        "bare_tokens_per_second": batch * taken.length / median(bare),
        "fit_over_bare": sum(bare) / sum(whole),
    }


def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        n_latents={
            "type": int,
            "nargs": "+",
            "default": [4096, 16384],
            "help": "sizes of the dictionary",
        },
        batch={
            "type": int,
            "nargs": "+",
            "default": [1024, 2048],
            "help": "tokens, one number per size",
        },
        length={"type": int, "default": 20, "help": "steps of a turn"},
        turns={"type": int, "default": 12, "help": "turns of each, after one that is not counted"},
        width={"type": int, "default": 640, "help": "of each of two sources"},
        k={"type": int, "default": 32, "help": "active latents per token"},
    )
    sources, rows = pair(args.width), []
    with tempfile.TemporaryDirectory() as scratch:
        store = random_store(Path(scratch) / "store", sources, 65_536)
        for n_latents, batch in zip(args.n_latents, args.batch, strict=True):
            taken = take_turns(
                sources, store, n_latents, args.k, batch, args, Path(scratch) / str(n_latents)
            )
            rows.append(row(n_latents, args.k, batch, taken))
    report("trainer.fit against the bare step", rows, args.json, args.device)


if __name__ == "__main__":
    main()
