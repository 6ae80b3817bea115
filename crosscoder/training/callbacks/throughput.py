"""Duration and speed of training."""

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from crosscoder import distributed


class Throughput(Callback):
    """Seconds of training, tokens, and the last logged loss; kept in the checkpoint."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.tokens = 0
        self.loss = math.nan

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "tokens": self.tokens, "loss": float(self.loss)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]
        self.tokens = state_dict["tokens"]
        self.loss = state_dict["loss"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter() - self.seconds

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.tokens += len(batch) * distributed.size()
        self.seconds = time.perf_counter() - self._start
        # not yet a float: the conversion would wait for the GPU at every step
        self.loss = trainer.logged_metrics.get("loss", self.loss)

    def figures(self) -> dict[str, float]:
        """Return the figures of training that metrics.json holds."""
        return {
            "train_tokens": self.tokens,
            "train_seconds": self.seconds,
            "tokens_per_second": self.tokens / max(self.seconds, 1e-9),
            "loss": float(self.loss),
        }
