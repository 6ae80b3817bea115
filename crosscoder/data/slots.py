"""The schedule of a shuffled buffer: which slots are filled, and from which a batch is taken.

    all slots are filled; they are shuffled; batches are taken until 9/10 of them are free;
    these are filled with new tokens; all slots are shuffled; …

The schedule follows from the seed alone, so training can resume at any batch.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

REPLACED = 0.9  # fraction of the slots that is taken between two refreshes, at least


@dataclass(frozen=True)
class Refresh:
    """One refresh of the buffer.

    Args:
        fill: Slots to fill with the next tokens, in the order of the text.
        batches: Slots of each batch, [batches, batch_size].
        n_done: Number of these batches that were trained on before.
    """

    fill: Tensor
    batches: Tensor
    n_done: int = 0


class SlotSchedule:
    """Refreshes of a buffer of slots.

    Args:
        n_slots: Number of slots, a multiple of the batch size.
        batch_size: Tokens per batch.
        seed: Random seed.

    Attributes:
        held: Number of the token that each slot holds after the last refresh, [n_slots].
        n_filled: Number of tokens that have been put into slots.
    """

    def __init__(self, n_slots: int, batch_size: int, seed: int) -> None:
        self.n_slots = n_slots
        self.held = torch.empty(n_slots, dtype=torch.int64)
        self.n_filled = 0
        self._batch_size = batch_size
        self._n_batches = math.ceil(REPLACED * n_slots / batch_size)
        self._generator = torch.Generator().manual_seed(seed)
        self._free = torch.arange(n_slots)
        self._remaining = torch.arange(0)

    def refresh(self) -> Refresh:
        """Fill the free slots with the next tokens, and shuffle all slots."""
        fill = self._free
        order = torch.randperm(self.n_slots, generator=self._generator)
        slots = torch.cat([self._remaining, fill])[order]
        n_taken = self._n_batches * self._batch_size
        self._free = slots[:n_taken]
        self._remaining = slots[n_taken:]
        self.held[fill] = torch.arange(self.n_filled, self.n_filled + len(fill))
        self.n_filled += len(fill)
        return Refresh(fill, self._free.view(self._n_batches, self._batch_size))

    def seek(self, first: int) -> Refresh:
        """Advance to the refresh of batch `first`, with all slots to fill that are still needed."""
        n_done = first
        batches = self.refresh().batches
        while n_done >= len(batches):
            n_done -= len(batches)
            batches = self.refresh().batches
        done = batches[:n_done].flatten()
        order = self.held.clone()
        order[done] = self.n_filled  # these tokens have been trained on
        fill = order.argsort()[: self.n_slots - len(done)]
        return Refresh(fill, batches, n_done)

    def select_full_batches(self, batches: Tensor, n_tokens: int) -> Tensor:
        """Regroup batches of a text that ends after `n_tokens`; drop what is not a whole batch."""
        slots = batches.flatten()
        there = slots[self.held[slots] < n_tokens]
        n = len(there) // self._batch_size
        return there[: n * self._batch_size].view(n, self._batch_size)
