"""Training batches for Lightning, and the position in them."""

from collections.abc import Generator, Iterator
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset

from crosscoder import distributed
from crosscoder.core.types import Acts
from crosscoder.data import Mixing
from crosscoder.errors import UserError


@runtime_checkable
class Supply(Protocol):
    """Source of batches: a store, or the language models themselves."""

    def __len__(self) -> int:
        """Return the number of tokens in an epoch."""
        ...

    def iter_batches(
        self,
        batch_size: int,
        seed: int = 0,
        first: int = 0,
        process: tuple[int, int] = (0, 1),
        /,
    ) -> Generator[Acts, None, None]:
        """Yield batches without end.

        Args:
            batch_size: Tokens of a batch over all processes.
            seed: Random seed of the order.
            first: Number of the first batch.
            process: Rank of this process and number of processes; each gets its rows of a batch.
        """
        ...


class Batches(IterableDataset):
    """Batches of a supply, from the position that training has reached."""

    def __init__(self, supply: Supply, batch_size: int, seed: int) -> None:
        self.supply = supply
        self.batch_size = batch_size
        self.seed = seed
        self.first = 0
        self.iterators: list[Generator[Acts, None, None]] = []

    def __iter__(self) -> Iterator[Acts]:
        process = distributed.rank(), distributed.size()
        batches = self.supply.iter_batches(self.batch_size, self.seed, self.first, process)
        self.iterators.append(batches)
        return batches


class ActsModule(L.LightningDataModule):
    """Training batches of raw activations, in the store's dtype.

    Args:
        supply: Source of the batches.
        batch_size: Tokens of a batch over all processes.
        seed: Random seed of the tokens' order.
        validation: Tokens on which the inference threshold is fitted. None: the training tokens.
    """

    def __init__(
        self, supply: Supply, batch_size: int, seed: int = 0, validation: Mixing | None = None
    ) -> None:
        super().__init__()
        if len(supply) < batch_size:  # an epoch would never give a batch
            raise UserError(
                f"there are {len(supply):,} tokens to train on, "
                f"fewer than batch_size={batch_size:,}"
            )
        if batch_size % distributed.size():
            raise UserError(
                f"batch_size={batch_size:,} cannot be split evenly over "
                f"{distributed.size()} processes"
            )
        self.batch_size = batch_size
        self.validation: Any = supply if validation is None else validation
        self.batches = Batches(supply, batch_size, seed)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches that were trained on, for the checkpoint."""
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress  # type: ignore[union-attr]
        return {"trained": progress.total.processed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after these batches, with any number of processes."""
        self.batches.first = state_dict["trained"]

    def train_dataloader(self) -> DataLoader:
        # Whole batches come from memory, so worker processes would only copy. The generator keeps
        # the loader from drawing from the global one, which would change a resumed run.
        return DataLoader(self.batches, batch_size=None, num_workers=0, generator=torch.Generator())

    def teardown(self, stage: str) -> None:
        """Close the iterators, whose threads may still make batches."""
        for batches in self.batches.iterators:
            batches.close()
