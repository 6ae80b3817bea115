"""The k largest of each token. Gao et al. 2024."""

from typing import Any

import torch

from crosscoder.activations.base import Activation
from crosscoder.errors import UserError
from crosscoder.select import select_topk
from crosscoder.sparse import Index
from crosscoder.types import Dense, PerLatent


class TopK(Activation):
    """Per token the k latents with the largest relu(pre) · scale, in training and inference alike.

    Args:
        k: active latents per token at the end of the run.
        start: how many times as many are active at its beginning.
        anneal: fraction of the run over which they become k, linearly.
    """

    fraction_left: torch.Tensor

    def __init__(self, k: int, start: float = 1.0, anneal: float = 0.0) -> None:
        super().__init__()
        if not isinstance(k, int) or k < 1:
            raise UserError(f"k is a whole number from 1, not {k!r}")
        self.k, self.start, self.anneal = k, start, anneal
        self.register_buffer("fraction_left", torch.tensor(0.0))

    def at(self, progress: float) -> None:
        """Set the annealed k."""
        self.fraction_left.fill_(max(0.0, 1 - progress / self.anneal) if self.anneal else 0.0)

    @property
    def k_now(self) -> int:
        """k at this point of the run."""
        return round(self.k * (1 + float(self.fraction_left) * (self.start - 1)))

    def select(self, pre: Dense, scale: PerLatent) -> Index:
        return select_topk(pre, scale, self.k_now)

    def arguments(self) -> dict[str, Any]:
        return {"k": self.k, "start": self.start, "anneal": self.anneal}
