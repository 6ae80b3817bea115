"""One training run: the trainer with what happens around it, then the threshold that inference uses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.strategies import ModelParallelStrategy

from crosscoder import processes
from crosscoder.memory import kept
from crosscoder.training.callbacks import Curves, LastCheckpoint, Throughput, TrainingProgress, good_checkpoint, quiet
from crosscoder.training.datamodule import ActsModule
from crosscoder.training.module import CrosscoderModule, fit_threshold
from crosscoder.training.sharding import gather


def fit(
    module: CrosscoderModule,
    batches: ActsModule,
    trainer: Callable[..., L.Trainer],
    logger: Any,
    checkpoints: Path,
    resume: bool = False,
) -> dict[str, float]:
    """Train `module.crosscoder` in place for `module.n_steps` steps.

    Args:
        module: what is trained.
        batches: what it is trained on, and what the threshold is fitted on.
        trainer: makes a Lightning trainer from `max_steps`, `logger`, `callbacks`.
        logger: Lightning's, or False.
        checkpoints: folder of `last.ckpt`; `curves.json` is written beside it.
        resume: go on from the last good checkpoint there, if there is one: the result is that of a run without a break.

    Returns:
        `train_tokens`, `train_seconds`, `tokens_per_second`, `loss` as they stand in metrics.json.
    """
    quiet()
    checkpoint, throughput = LastCheckpoint(checkpoints), Throughput()
    callbacks = [
        TrainingProgress(batches.batch_size),
        checkpoint,
        throughput,
        Curves(checkpoints.parent / "curves.json"),
    ]
    options = {"logger": logger, "callbacks": callbacks, "default_root_dir": checkpoints.parent}
    if processes.size() > 1:
        n, here = processes.started()
        options |= {"devices": here, "num_nodes": n // here}
    if (n := processes.of_latents()[1]) > 1:
        options["strategy"] = ModelParallelStrategy(1, n, save_distributed_checkpoint=False)
    run = trainer(max_steps=module.n_steps, **options)
    begun = good_checkpoint(checkpoints) if resume else None
    with kept():
        run.fit(module, batches, ckpt_path=begun, weights_only=True)
    checkpoint.exit_if_interrupted(run)
    fit_threshold(module.crosscoder, batches.validation.sequential(batches.batch_size))
    gather(module.crosscoder)
    return throughput.figures()
