"""Batches for the trainer, and where in them training is."""

from collections.abc import Generator, Iterator
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset

from crosscoder import processes
from crosscoder.data import Mixing
from crosscoder.errors import UserError
from crosscoder.types import Acts


@runtime_checkable
class Supply(Protocol):
    """What batches come from: a store, or the models themselves."""

    def __len__(self) -> int:
        """Tokens in an epoch."""
        ...

    def batches(
        self, batch_size: int, seed: int = 0, first: int = 0, part: tuple[int, int] = (0, 1)
    ) -> Generator[Acts, None, None]:
        """Without end, from number `first` on; of each this process's `part`: (which, of how many)."""
        ...


class Batches(IterableDataset):
    """A supply's batches from the one on that training has come to."""

    def __init__(self, supply: Supply, batch_size: int, seed: int) -> None:
        self.supply, self.batch_size, self.seed, self.first = supply, batch_size, seed, 0
        self.begun: list[Generator[Acts, None, None]] = []

    def __iter__(self) -> Iterator[Acts]:
        part = processes.rank(), processes.size()
        self.begun.append(self.supply.batches(self.batch_size, self.seed, self.first, part))
        return self.begun[-1]


class ActsModule(L.LightningDataModule):
    """Training batches of raw activations, in the store's dtype; `batch_size` tokens over all processes.

    `validation` is what inference needs beside the weights fitted on; without any, the training tokens serve.
    """

    def __init__(self, supply: Supply, batch_size: int, seed: int = 0, validation: Mixing | None = None) -> None:
        super().__init__()
        if len(supply) < batch_size:  # no epoch would ever give a batch
            raise UserError(f"there are {len(supply):,} tokens to train on, fewer than batch_size={batch_size:,}")
        if batch_size % processes.size():
            raise UserError(f"batch_size={batch_size:,} cannot be shared out evenly to {processes.size()} processes")
        self.batch_size = batch_size
        self.validation: Any = supply if validation is None else validation
        self.batches = Batches(supply, batch_size, seed)

    def state_dict(self) -> dict[str, Any]:
        """How many batches have been trained on; kept in the checkpoint."""
        return {"trained": self.trainer.fit_loop.epoch_loop.batch_progress.total.processed}  # type: ignore[union-attr]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on there, with as many processes as there are now."""
        self.batches.first = state_dict["trained"]

    def train_dataloader(self) -> DataLoader:
        # whole batches come from memory: worker processes would only copy
        # with a generator of its own: else starting it draws from the global one, and resuming once more
        return DataLoader(self.batches, batch_size=None, num_workers=0, generator=torch.Generator())

    def teardown(self, stage: str) -> None:
        """End what still makes batches."""
        for batches in self.batches.begun:
            batches.close()
