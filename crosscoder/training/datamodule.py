"""Batches for the trainer: a store, shuffled anew every epoch."""

from collections.abc import Iterator

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from crosscoder.data import Mixing
from crosscoder.errors import UserError
from crosscoder.types import Acts


class Epochs(IterableDataset):
    """One epoch after the other, each in its own order derived from `seed`; what one leaves over comes first in the next."""

    def __init__(self, mixing: Mixing, batch_size: int, seed: int) -> None:
        self.mixing, self.batch_size, self.seed, self.epoch = mixing, batch_size, seed, 0
        self.rest: list[Tensor] = []

    def __iter__(self) -> Iterator[Acts]:
        generator = torch.Generator().manual_seed(self.seed + 7919 * self.epoch)
        self.epoch += 1
        return self.mixing.epoch(self.batch_size, generator, self.rest)


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

    def train_dataloader(self) -> DataLoader:
        # the data set yields whole batches from memory: worker processes would only copy
        return DataLoader(self.epochs, batch_size=None, num_workers=0)
