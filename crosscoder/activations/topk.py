"""The k largest of each token. Gao et al. 2024. What makes one latent larger than another is its score relu(pre) · n_j:

    sum      n_j = Σ_s ‖d_j^s‖              what a latent contributes to all sources (Minder et al. 2025)
    concat   n_j = sqrt(Σ_s ‖d_j^s‖²)       of an SAE on the streams side by side
    mixed    n_j = concat + 0.1 · sum
    none     n_j = 1

A score per source makes a code per source: there each latent has a row for every source (constraints/decoupled.py).
"""

from typing import Any

import torch
from torch import Tensor

from crosscoder.activations.base import Activation
from crosscoder.errors import UserError
from crosscoder.select import select_topk
from crosscoder.sparse import Index
from crosscoder.types import Dense, PerLatent

SCORES = {
    "sum": lambda norms: norms.sum(0),
    "concat": lambda norms: norms.square().sum(0).sqrt(),
    "mixed": lambda norms: norms.square().sum(0).sqrt() + 0.1 * norms.sum(0),
    "none": lambda norms: torch.ones_like(norms[0]),
}


class TopK(Activation):
    """Per token the k latents with the largest relu(pre) · n_j, in training and inference alike.

    Args:
        k: active latents per token at the end of the run.
        start: how many times as many are active at its beginning.
        anneal: fraction of the run over which they become k, linearly.
        score: sum, concat, mixed or none.
    """

    fraction_left: torch.Tensor

    def __init__(self, k: int, start: float = 1.0, anneal: float = 0.0, score: str = "sum") -> None:
        super().__init__()
        if not isinstance(k, int) or k < 1:
            raise UserError(f"k is a whole number from 1, not {k!r}")
        if score == "decoupled":
            raise UserError("a score per source is a constraint, on rows for every source: constraint=[decoupled]")
        if score not in SCORES:
            raise UserError(f"the score is {', '.join(SCORES)}, not {score!r}")
        self.k, self.start, self.anneal, self.score = k, start, anneal, score
        self.register_buffer("fraction_left", torch.tensor(0.0))

    def weigh(self, norms: Tensor) -> PerLatent:
        return SCORES[self.score](norms)

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
        return {"k": self.k, "start": self.start, "anneal": self.anneal, "score": self.score}
