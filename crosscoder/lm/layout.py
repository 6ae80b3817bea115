"""Lay out packed rows for a model so that documents which share a row do not see each other.

    packed       a0 a1 a2 b0 | b1 b2 c0 c1            positions 0 1 2 0 | 0 1 0 1: a piece begins
                                                      where they restart
    positions    the same rows; the model's attention respects positions that restart
    mask         the same rows, with a 4-D mask that says which tokens see each other
    rows         a0 a1 a2 | b0 _ _ | b1 b2 _ | c0 c1 _
                                                      a row for each piece, padded on the right,
                                                      where no token sees it

`packing.py` measures which of them a model needs.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from crosscoder.values import require_choice

Packing = Literal["positions", "mask", "rows"]
"""The ways to isolate documents, the fastest first."""


@dataclass(frozen=True)
class Layout:
    """The rows that a model runs on in place of packed ones.

    Args:
        packing: How documents are isolated.
        packed: Positions of the packed rows, [batch, time].
    """

    packing: Packing
    packed: Int[Tensor, "batch time"]

    def __post_init__(self) -> None:
        require_choice("packing", self.packing, ("positions", "mask", "rows"))

    @property
    def positions(self) -> Int[Tensor, "rows width"]:
        """Position ids for the model."""
        if self.packing != "rows":
            return self.packed
        n_rows = int(self._piece.max()) + 1
        width = int(self._column.max()) + 1
        return torch.arange(width, device=self.packed.device).expand(n_rows, width)

    @property
    def mask(self) -> Bool[Tensor, "batch 1 time time"] | None:
        """Visibility of each token for each token; None if positions tell the model."""
        return make_document_mask(self.packed) if self.packing == "mask" else None

    def arrange(self, x: Tensor) -> Tensor:
        """Put values of packed tokens [batch, time, …] where the model's are; pad with zero."""
        if self.packing != "rows":
            return x
        n_rows, width = self.positions.shape
        arranged = x.new_zeros(n_rows, width, *x.shape[2:])
        arranged[self._piece, self._column] = x.flatten(0, 1)
        return arranged

    def restore(self, x: Tensor) -> Tensor:
        """Put values of the model's tokens back where the packed tokens are, [batch, time, …]."""
        if self.packing != "rows":
            return x
        return x[self._piece, self._column].unflatten(0, tuple(self.packed.shape))

    @cached_property
    def _piece(self) -> Int[Tensor, "tokens"]:
        """The number of each packed token's piece."""
        return find_piece_starts(self.packed).flatten().cumsum(0) - 1

    @cached_property
    def _column(self) -> Int[Tensor, "tokens"]:
        """The index of each packed token in its piece."""
        index = torch.arange(len(self._piece), device=self.packed.device)
        first = index[find_piece_starts(self.packed).flatten()]
        return index - first[self._piece]


def make_document_mask(positions: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch 1 time time"]:
    """Return which tokens each token sees: itself and the earlier ones of its own piece."""
    pieces = find_piece_starts(positions).cumsum(-1)
    time = torch.arange(positions.shape[1], device=positions.device)
    is_earlier = time[:, None] >= time[None, :]
    is_same = pieces[:, :, None] == pieces[:, None, :]
    return (is_earlier & is_same)[:, None]


def has_restarts(positions: Int[Tensor, "batch time"]) -> bool:
    """Return whether any row holds more than one piece."""
    return bool(find_piece_starts(positions)[:, 1:].any())


def find_piece_starts(positions: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch time"]:
    """Return where pieces begin: at the start of a row, and where positions do not rise by one."""
    starts = torch.ones_like(positions, dtype=torch.bool)
    starts[:, 1:] = positions[:, 1:] != positions[:, :-1] + 1
    return starts
