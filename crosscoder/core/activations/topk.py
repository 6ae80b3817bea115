"""The k largest latents of each token. Gao et al. 2024.

Latents are compared by their score relu(pre) · n_j:

    sum      n_j = Σ_s ‖d_j^s‖              what a latent contributes to all sources (Minder et al.
                                            2025)
    concat   n_j = sqrt(Σ_s ‖d_j^s‖²)       as in an SAE on the concatenated streams
    mixed    n_j = concat + 0.1 · sum
    none     n_j = 1

A score per source makes a code per source. That is a constraint, because each latent then has a row
for every source (constraints/decoupled.py).
"""

from typing import Any

import torch
from torch import Tensor

from crosscoder.core.activations.base import Activation
from crosscoder.core.select import select_topk
from crosscoder.core.sparse import Index
from crosscoder.core.types import Dense, PerLatent
from crosscoder.errors import UserError
from crosscoder.values import require_choice, require_fraction, require_number, require_whole


def _sum_norms(norms: Tensor) -> PerLatent:
    return norms.sum(0)


def _concat_norms(norms: Tensor) -> PerLatent:
    return norms.square().sum(0).sqrt()


def _mixed_norms(norms: Tensor) -> PerLatent:
    return _concat_norms(norms) + 0.1 * _sum_norms(norms)


def _ones(norms: Tensor) -> PerLatent:
    return torch.ones_like(norms[0])


SCORES = {"sum": _sum_norms, "concat": _concat_norms, "mixed": _mixed_norms, "none": _ones}


class TopK(Activation):
    """Per token the k latents with the largest relu(pre) · n_j, in training and inference alike.

    Args:
        k: Active latents per token at the end of the run.
        start: Factor on k at the beginning of the run.
        anneal: Fraction of the run over which the factor becomes 1, linearly.
        score: sum, concat, mixed or none; see above.
    """

    fraction_left: torch.Tensor

    def __init__(self, k: int, start: float = 1.0, anneal: float = 0.0, score: str = "sum") -> None:
        super().__init__()
        require_whole("k", k)
        require_number("activation.start", start, above=0)
        require_fraction("activation.anneal", anneal)
        if round(k * start) < 1:
            raise UserError(
                f"activation.start={start} times k={k} leaves no latent active at the beginning "
                "of the run"
            )
        if score == "decoupled":
            raise UserError(
                "activation.score=decoupled does not exist: a score per source is a constraint, "
                "use constraint=[decoupled]"
            )
        require_choice("activation.score", score, tuple(SCORES))
        self.k = k
        self.start = start
        self.anneal = anneal
        self.score = score
        self.register_buffer("fraction_left", torch.tensor(0.0))

    def selection_scale(self, decoder_norms: Tensor) -> PerLatent:
        return SCORES[self.score](decoder_norms)

    def set_progress(self, progress: float) -> None:
        """Set how much of the annealing of k is left."""
        left = max(0.0, 1 - progress / self.anneal) if self.anneal else 0.0
        self.fraction_left.fill_(left)

    @property
    def k_now(self) -> int:
        """Return k at this point of the run."""
        return round(self.k * (1 + float(self.fraction_left) * (self.start - 1)))

    def select(self, pre: Dense, scale: PerLatent) -> Index:
        return select_topk(pre, scale, self.k_now)

    def arguments(self) -> dict[str, Any]:
        return {"k": self.k, "start": self.start, "anneal": self.anneal, "score": self.score}
