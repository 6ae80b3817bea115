"""Checkpoints that are whole, hold finite weights, and resume a run bit for bit."""

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from crosscoder import distributed
from crosscoder.errors import UserError, translate_write_errors
from crosscoder.io.files import atomic_write, delete_unfinished, make_folders
from crosscoder.io.identity import Identity
from crosscoder.runtime import signals
from crosscoder.training.checkpoints import IDENTITY_KEY
from crosscoder.training.sharding import get_local_rows


class InPlaceCheckpointIO(TorchCheckpointIO):
    """Checkpoints written to their own folder.

    Lightning writes through memory and the system's temporary folder, which may be small.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        path = Path(path)
        make_folders(path.parent)
        # of killed processes: no other process works on this run
        delete_unfinished(path.parent, path.name)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)


class LastCheckpoint(Callback):
    """`last.ckpt`, written at intervals, at the end, and after a signal; never after a NaN.

    After a signal (runtime/signals.py), the current batch is finished first. During training the
    checkpoint before is kept as `previous.ckpt`. A checkpoint holds the states of torch's random
    number generators, which Lightning leaves out. This must be the last of the callbacks, since it
    writes the states that the others have by then.

    Args:
        folder: Folder of the checkpoints.
        every: Minimal number of seconds between two checkpoints.
        max_fraction: Maximal fraction of the time that is spent on checkpoints. A large checkpoint,
            which takes long to write, is written less often.
        identity: Identity of the run (io/identity.py), stored in the checkpoint. None for a run
            that is never resumed.
    """

    STEPS_BETWEEN_CHECKS = 20  # with several processes

    def __init__(
        self,
        folder: str | Path,
        every: float = 60.0,
        max_fraction: float = 0.01,
        identity: Identity | None = None,
    ) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.every = every
        self.max_fraction = max_fraction
        self.identity = identity
        self.interrupted = False
        self._postponement = signals.Postponement()

    @property
    def state_key(self) -> str:
        """Return a key with the folder's name, since there may be several such callbacks."""
        return f"{type(self).__name__}({self.path.parent.name})"

    def state_dict(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"torch": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch.set_rng_state(state_dict["torch"])
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if len(state_dict["cuda"]) == n_devices:
            torch.cuda.set_rng_state_all(state_dict["cuda"])

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.identity is not None:
            checkpoint[IDENTITY_KEY] = self.identity.spec()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = InPlaceCheckpointIO()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def stop() -> None:
            trainer.should_stop |= distributed.size() == 1

        self._postponement.begin(stop)
        self._due = 0.0  # so that there is a good checkpoint after the first step

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # several processes have to stop and save after the same step, so they agree at intervals
        if distributed.size() > 1 and trainer.global_step % self.STEPS_BETWEEN_CHECKS != 1:
            return
        has_signal = self._postponement.signal is not None
        self.interrupted, is_due = distributed.any_rank(
            self.interrupted or has_signal, time.monotonic() > self._due
        )
        trainer.should_stop |= self.interrupted
        if is_due:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not _has_finite_weights(pl_module):
            raise UserError(
                f"NaN or infinity in the weights at step {trainer.global_step}; "
                "last.ckpt is from before"
            )
        self._save(trainer)
        has_signal = self._postponement.signal is not None
        self.interrupted = distributed.any_rank(self.interrupted or has_signal)[0]
        self._postponement.end()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._postponement.end()

    def exit_if_interrupted(self, trainer: L.Trainer) -> None:
        """End the program if a signal ended training. Otherwise delete `previous.ckpt`.

        Call this after fit.

        Raises:
            SystemExit: A signal has come.
        """
        if self.interrupted:
            kept = (
                f"step {trainer.global_step} of {trainer.max_steps} is done, its checkpoint is "
                f"{self.path}"
            )
            how = "the same command continues"
            if self.identity:
                how = "resume=RUN continues from there"
            signals.exit_program(self._postponement.signal, f"{kept}; {how}")
        if trainer.is_global_zero:
            self.path.with_name("previous.ckpt").unlink(missing_ok=True)

    def _save(self, trainer: L.Trainer) -> None:
        """Write a checkpoint as `next.ckpt`, then rename it. Skip weights that are not finite."""
        start = time.monotonic()
        if not _has_finite_weights(trainer.lightning_module):
            return
        newest = self.path.with_name("next.ckpt")
        with translate_write_errors(self.path):
            trainer.save_checkpoint(newest)
        if trainer.is_global_zero:
            if self.path.exists():
                self.path.replace(self.path.with_name("previous.ckpt"))
            newest.replace(self.path)
        end = time.monotonic()
        self._due = end + max(self.every, (end - start) / self.max_fraction)


def _has_finite_weights(module: L.LightningModule) -> bool:
    """Return whether the weights of all processes are finite."""
    is_finite = True
    for weight in module.parameters():
        is_finite = is_finite and bool(get_local_rows(weight).isfinite().all())
    return not distributed.any_rank(not is_finite)[0]
