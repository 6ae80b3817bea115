"""The progress line of training."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from crosscoder.runtime.progress import progress


class TrainingProgress(Callback):
    """A progress line with steps, tokens/s, remaining time, FVE and dead latents."""

    def __init__(self, batch_size: int) -> None:
        self.bar = progress(per_step=batch_size)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar.disable = not trainer.is_global_zero
        self.bar.start()
        self.task = self.bar.add_task(
            "train", total=trainer.max_steps, completed=trainer.global_step, note=""
        )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        shown = []
        for logged_name, value in trainer.logged_metrics.items():
            name = logged_name.removeprefix("train/")
            if name.startswith(("fve", "dead")):
                shown.append(f"{name} {float(value):.3f}")
        self.bar.update(self.task, completed=trainer.global_step, note="  ".join(shown))

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self.bar.stop()  # Lightning does not call teardown then

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.bar.stop()
