"""Build Lightning's trainer, and refuse settings under which it would not train the run as asked.

One process trains on one device. Several processes are started by torchrun or SLURM, never by a
setting, since settings may come from somebody else.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy

from crosscoder import distributed
from crosscoder.distributed import BY_TOKENS, Parallel
from crosscoder.errors import UserError, first_line
from crosscoder.installation import name_command, name_launch
from crosscoder.training.libraries import set_matmul_precision, silence_libraries
from crosscoder.values import is_finite, require_whole

# raised by Lightning for a setting that it refuses, or that this machine does not support
LIGHTNING_ERRORS = (
    MisconfigurationException,
    ValueError,
    TypeError,
    RuntimeError,
    ImportError,
    AttributeError,
    KeyError,
)
PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")
FP16_NAMES = ("16-mixed", "16", 16)  # of one precision


def build_trainer(
    make: Callable[..., L.Trainer],
    n_steps: int,
    folder: Path,
    parallel: Parallel = BY_TOKENS,
    **options: Any,
) -> L.Trainer:
    """Build the trainer of a run.

    Args:
        make: Function that makes a trainer from `max_steps` and `options`.
        n_steps: Optimizer steps of the run.
        folder: Folder for files of Lightning.
        parallel: Division of a training step among processes.
        options: Further options of the trainer: `logger`, `callbacks`.

    Raises:
        UserError: The trainer cannot be built, or it would not train the run as asked.
    """
    silence_libraries()
    set_matmul_precision()
    _require_srun()
    options |= {"default_root_dir": folder}
    if distributed.size() > 1:
        n_processes, n_local = distributed.launched_processes()
        options |= {"devices": n_local, "num_nodes": n_processes // n_local}
    n_shards = parallel.n_latent_shards
    if n_shards > 1:
        options["strategy"] = ModelParallelStrategy(1, n_shards, save_distributed_checkpoint=False)
    try:
        trainer = make(max_steps=n_steps, **options)
    except LIGHTNING_ERRORS as error:
        raise UserError(f"the trainer cannot be built: {first_line(error)}") from error
    _disable_signal_handlers(trainer)
    _require_own_processes(trainer)
    _require_precision(make, trainer)
    _require_whole_run(trainer)
    return trainer


def _require_srun() -> None:
    """Refuse one process alone in a SLURM job of several tasks: Lightning would wait for others."""
    n_tasks = os.environ.get("SLURM_NTASKS", "1")
    has_tasks = n_tasks.isdigit() and int(n_tasks) > 1
    is_interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    is_alone = distributed.launched_processes()[0] == 1
    if has_tasks and is_alone and not is_interactive:
        raise UserError(
            f"SLURM gave this job {n_tasks} tasks (SLURM_NTASKS), but this is one process alone: "
            f"start it with `srun {name_command('train')} …`, or ask SLURM for --ntasks=1"
        )


def _disable_signal_handlers(trainer: L.Trainer) -> None:
    """Keep Lightning from handling signals.

    It would end a run at once, and requeue a SLURM job in the middle of a step.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None


def _require_own_processes(trainer: L.Trainer) -> None:
    """Refuse a trainer that would start processes, or wait for processes that do not exist."""
    n_devices = trainer.num_devices * trainer.num_nodes
    size = distributed.size()
    if n_devices != size:
        raise UserError(
            f"trainer.devices and trainer.num_nodes ask for {n_devices} devices, but a process "
            f"trains on one: leave trainer.devices=1 and start {n_devices} processes with "
            f"`{name_launch(n_devices)} …`"
        )
    allowed = (DDPStrategy, ModelParallelStrategy) if size > 1 else (SingleDeviceStrategy,)
    if not isinstance(trainer.strategy, allowed):
        name = type(trainer.strategy).__name__
        raise UserError(
            f"trainer.strategy is a {name}, which does not support {size} process(es): "
            "leave it at auto"
        )


def _require_precision(make: Callable[..., L.Trainer], trainer: L.Trainer) -> None:
    """Refuse a precision that is not supported, or that Lightning replaced by another."""
    requested = getattr(make, "keywords", {}).get("precision")
    if requested in FP16_NAMES and trainer.precision != "16-mixed":
        raise UserError("trainer.precision=16-mixed needs a GPU: use bf16-mixed on this device")
    if trainer.precision not in PRECISIONS:
        raise UserError(
            f"trainer.precision={trainer.precision} is not supported, since weights and Adam's "
            "moments would have few bits: use 32-true, whose products are in bfloat16 anyway, or "
            "bf16-mixed"
        )


def _require_whole_run(trainer: Any) -> None:
    """Refuse settings that change the tokens of the run, or end it early."""
    clip = trainer.gradient_clip_val
    if clip is not None and not (is_finite(clip) and clip >= 0):
        raise UserError(f"trainer.gradient_clip_val is a number from 0, or null, not {clip!r}")
    require_whole("trainer.log_every_n_steps", trainer.log_every_n_steps)
    if trainer.accumulate_grad_batches != 1:
        raise UserError(
            "trainer.accumulate_grad_batches is 1: set batch_size to the tokens of a step"
        )
    shortened = {
        "fast_dev_run": bool(trainer.fast_dev_run),
        "overfit_batches": bool(trainer.overfit_batches),
        "limit_train_batches": trainer.limit_train_batches not in (None, 1.0),
        "max_epochs": trainer.max_epochs not in (None, -1),
    }
    for name, is_set in shortened.items():
        if is_set:
            raise UserError(
                f"trainer.{name} would cut the run short: set its length with train_tokens"
            )
