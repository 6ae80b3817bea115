"""Batches for the trainer: a store, shuffled anew every epoch."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from crosscoder.data import Mixing
from crosscoder.errors import UserError
from crosscoder.types import Acts


class Epochs(IterableDataset):
    """One epoch after the other, each in its own order derived from `seed`; what one leaves over comes first in the next.

    `first` is what the epoch under way began with, so that it can be begun again; `skip` is how many of its batches have been
    trained on already.
    """

    def __init__(self, mixing: Mixing, batch_size: int, seed: int) -> None:
        self.mixing, self.batch_size, self.seed, self.epoch, self.skip = mixing, batch_size, seed, 0, 0
        self.rest: list[Tensor] = []
        self.first: list[Tensor] = []

    def __iter__(self) -> Iterator[Acts]:
        generator = torch.Generator().manual_seed(self.seed + 7919 * self.epoch)
        self.epoch += 1
        self.first = list(self.rest)
        skip, self.skip = self.skip, 0
        return islice(self.mixing.epoch(self.batch_size, generator, self.rest), skip, None)


class ActsModule(L.LightningDataModule):
    """Training batches [batch_size, d_total] of raw activations, in the store's dtype.

    `validation` is what inference needs beside the weights fitted on; without any, the training tokens serve.
    """

    def __init__(self, mixing: Mixing, batch_size: int, seed: int = 0, validation: Mixing | None = None) -> None:
        super().__init__()
        if len(mixing) < batch_size:  # no epoch would ever give a batch
            raise UserError(
                f"{mixing.store.folder} has {len(mixing):,} tokens to train on, fewer than batch_size={batch_size:,}"
            )
        self.batch_size = batch_size
        self.validation = mixing if validation is None else validation
        self.epochs = Epochs(mixing, batch_size, seed)

    def state_dict(self) -> dict[str, Any]:
        """Where in the data training is; kept in the checkpoint."""
        trained = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed  # type: ignore[union-attr]
        return {"epoch": self.epochs.epoch, "first": self.epochs.first, "trained": trained}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on there: the epoch under way is begun again, and what it has been trained on is passed over."""
        epochs = self.epochs
        epochs.epoch, epochs.rest, epochs.skip = (
            state_dict["epoch"] - 1,
            list(state_dict["first"]),
            state_dict["trained"],
        )

    def train_dataloader(self) -> DataLoader:
        # the data set yields whole batches from memory: worker processes would only copy
        # with a generator of its own: else every epoch draws from the global one, and a resumed epoch once more
        return DataLoader(self.epochs, batch_size=None, num_workers=0, generator=torch.Generator())
