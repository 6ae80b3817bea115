"""One training run: the trainer with its callbacks, then the threshold for inference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L

from crosscoder.io.identity import Identity
from crosscoder.runtime.memory import retain_freed_memory
from crosscoder.training.callbacks import Curves, LastCheckpoint, Throughput, TrainingProgress
from crosscoder.training.checkpoints import find_checkpoint, require_same_run
from crosscoder.training.datamodule import ActsModule
from crosscoder.training.module import CrosscoderModule, calibrate_activation
from crosscoder.training.sharding import gather_weights
from crosscoder.training.trainer import build_trainer


def fit(
    module: CrosscoderModule,
    batches: ActsModule,
    trainer: Callable[..., L.Trainer],
    logger: Any,
    checkpoints: Path,
    resume: bool = False,
    identity: Identity | None = None,
) -> dict[str, float]:
    """Train `module.crosscoder` in place for `module.n_steps` steps.

    Args:
        module: Module to train.
        batches: Training batches, and the validation tokens on which the threshold is fitted.
        trainer: Function that makes a Lightning trainer from `max_steps`, `logger`, `callbacks`.
        logger: Lightning's logger, or False.
        checkpoints: Folder of `last.ckpt`; `curves.json` is written next to it.
        resume: Whether to resume from the last good checkpoint, if there is one. The result is that
            of an uninterrupted run.
        identity: Identity of the run, stored in its checkpoints. A checkpoint of another run is
            refused.

    Returns:
        `train_tokens`, `train_seconds`, `tokens_per_second` and `loss`, as in metrics.json.
    """
    checkpoint = LastCheckpoint(checkpoints, identity=identity)
    throughput = Throughput()
    callbacks = [
        TrainingProgress(batches.batch_size),
        throughput,
        Curves(checkpoints.parent / "curves.json"),
        checkpoint,  # last, since it writes the state of the others
    ]
    lightning_trainer = build_trainer(
        trainer,
        module.n_steps,
        checkpoints.parent,
        parallel=module.crosscoder.parallel,
        logger=logger,
        callbacks=callbacks,
    )
    resume_from = find_checkpoint(checkpoints) if resume else None
    if resume_from is not None:
        require_same_run(resume_from, identity, module.state_dict())
    with retain_freed_memory():
        lightning_trainer.fit(module, batches, ckpt_path=resume_from, weights_only=True)
    checkpoint.exit_if_interrupted(lightning_trainer)
    module.crosscoder.to(lightning_trainer.strategy.root_device)  # Lightning left it on the CPU
    calibrate_activation(module.crosscoder, batches.validation.iter_in_order(batches.batch_size))
    gather_weights(module.crosscoder)
    return throughput.figures()
