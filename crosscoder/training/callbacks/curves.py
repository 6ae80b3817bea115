"""Training curves as a file of the run."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from crosscoder.io.run_dir import write_json


class Curves(Callback):
    """All logged values by step, written as `curves.json` at the end, with any logger."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # global_step counts this step already; the module logged if the step before was due
        step = trainer.global_step - 1
        if step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            logged = {name: float(value) for name, value in trainer.logged_metrics.items()}
            self.rows.append({"step": trainer.global_step, **logged})

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            write_json(self.path, self.rows)
