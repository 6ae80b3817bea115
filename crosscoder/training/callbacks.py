"""What happens around training: a progress line a person can read, a checkpoint at every good moment, tokens/s."""

import logging
import math
import signal
import threading
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from crosscoder import processes
from crosscoder.errors import UserError, first_line, writing
from crosscoder.progress import progress
from crosscoder.runs import write_json
from crosscoder.training.sharding import rows

log = logging.getLogger(__name__)


class TrainingProgress(Callback):
    """A rich progress line: steps, tokens/s, ETA, FVE, dead latents."""

    def __init__(self, batch_size: int) -> None:
        self.bar = progress(per_step=batch_size)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar.disable = not trainer.is_global_zero
        self.bar.start()
        self.task = self.bar.add_task("train", total=trainer.max_steps, completed=trainer.global_step, note="")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        seen = {name.removeprefix("train/"): float(value) for name, value in trainer.logged_metrics.items()}
        note = "  ".join(f"{name} {value:.3f}" for name, value in seen.items() if name.startswith(("fve", "dead")))
        self.bar.update(self.task, completed=trainer.global_step, note=note)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.bar.stop()


class Throughput(Callback):
    """Seconds of training and tokens per second, from the first batch to the last."""

    def __init__(self) -> None:
        self.seconds, self.tokens, self.loss = 0.0, 0, math.nan

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "tokens": self.tokens, "loss": float(self.loss)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.tokens, self.loss = state_dict["seconds"], state_dict["tokens"], state_dict["loss"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter() - self.seconds

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.tokens += len(batch) * processes.size()
        self.seconds = time.perf_counter() - self._start
        # a number only once it is asked for: that waits for a GPU
        self.loss = trainer.logged_metrics.get("loss", self.loss)

    def figures(self) -> dict[str, float]:
        """As they stand in metrics.json."""
        return {
            "train_tokens": self.tokens,
            "train_seconds": self.seconds,
            "tokens_per_second": self.tokens / max(self.seconds, 1e-9),
            "loss": float(self.loss),
        }


class Curves(Callback):
    """Everything that is logged, step by step, as `curves.json`: written at the end, whatever logger is used besides."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # the step has been counted by now, and it was logged if the one before it was due
        if (trainer.global_step - 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            logged = {name: float(value) for name, value in trainer.logged_metrics.items()}
            self.rows.append({"step": trainer.global_step, **logged})

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            write_json(self.path, self.rows)


class InPlace(TorchCheckpointIO):
    """Writes where it is told to; Lightning's own way is by memory and the system's temporary folder, which may be small."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("wb") as file:
            torch.save(checkpoint, file)


class LastCheckpoint(Callback):
    """`last.ckpt`: every so often, at the end, and on Ctrl-C or SIGTERM once the batch under way is done; never after a NaN.

    While training goes on, the one before it is kept as `previous.ckpt`. With the states of torch's random number generators,
    which Lightning leaves out.

    Args:
        folder: where it is written.
        every: seconds between two checkpoints, at least.
        share: of the time that may go into them: a large checkpoint, which takes long to write, is written less often.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    TOGETHER = 20  # steps

    def __init__(self, folder: str | Path, every: float = 60.0, share: float = 0.01) -> None:
        self.path, self.every, self.share = Path(folder) / "last.ckpt", every, share
        self.interrupted = False
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def state_key(self) -> str:
        """There may be several, in folders of other names."""
        return f"{type(self).__name__}({self.path.parent.name})"

    def state_dict(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"torch": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch.set_rng_state(state_dict["torch"])
        if len(state_dict["cuda"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0):
            torch.cuda.set_rng_state_all(state_dict["cuda"])

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = InPlace()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def stop(number: int, frame: Any) -> None:
            self.interrupted = True
            trainer.should_stop |= processes.size() == 1
            self._restore()  # a second Ctrl-C does not wait

        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, stop) for number in self.SIGNALS}
        self._due = 0.0  # so that there is a good checkpoint from the first step on

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # several processes have to stop, and to save, after the same step: every so often they ask each other
        if processes.size() > 1 and trainer.global_step % self.TOGETHER != 1:
            return
        self.interrupted, due = processes.any_has(self.interrupted, time.monotonic() > self._due)
        trainer.should_stop |= self.interrupted
        if due:
            self._save(trainer)

    # handlers are given back before Lightning gives back its own, which it put in place before ours
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not _finite(pl_module):
            raise UserError(f"NaN or infinity in the weights at step {trainer.global_step}; last.ckpt is from before")
        self._save(trainer)
        if trainer.is_global_zero and not self.interrupted:  # a finished run needs only one
            self.path.with_name("previous.ckpt").unlink(missing_ok=True)
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()

    def exit_if_interrupted(self, trainer: L.Trainer) -> None:
        """After fit: end the program if a signal ended the run."""
        if self.interrupted:
            log.warning("stopped at step %d of %d; checkpoint: %s", trainer.global_step, trainer.max_steps, self.path)
            raise SystemExit(130)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _save(self, trainer: L.Trainer) -> None:
        """Written aside, then renamed: what is there under its name is whole, and only finite weights get there."""
        start = time.monotonic()
        if not _finite(trainer.lightning_module):
            return
        aside = self.path.with_suffix(".tmp")
        try:
            with writing(self.path):
                trainer.save_checkpoint(aside)
        except BaseException:  # as on a full disk, where what there is of it takes the last room
            aside.unlink(missing_ok=True)
            raise
        if trainer.is_global_zero:
            if self.path.exists():
                self.path.replace(self.path.with_name("previous.ckpt"))
            aside.replace(self.path)
        end = time.monotonic()
        self._due = end + max(self.every, (end - start) / self.share)


def _finite(module: L.LightningModule) -> bool:
    """Whether all processes' weights are."""
    broken = not all(bool(rows(weight).isfinite().all()) for weight in module.parameters())
    return not processes.any_has(broken)[0]


def quiet() -> None:
    """Lightning and torch without their chatter."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")  # the data module is
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 against newer torch
    warnings.filterwarnings("ignore", message=".*`IterableDataset` has `__len__` defined.*")
    torch.set_float32_matmul_precision("high")


def good_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that can be read whole, read without unpickling; None if none has been written.

    Raises:
        UserError: there are some, and none can be read.
    """
    written = [path for name in ("last.ckpt", "previous.ckpt") if (path := folder / name).exists()]
    for path in written:
        try:
            with zipfile.ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise ValueError(f"{damaged} is damaged")
            torch.load(path, map_location="meta", weights_only=True)
            return path
        except Exception as error:  # whatever a damaged file can make of itself
            log.warning("%s cannot be read (%s)", path, first_line(error))
    if written:
        raise UserError(f"no checkpoint in {folder} can be read: {', '.join(path.name for path in written)}")
    return None
