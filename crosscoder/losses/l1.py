"""Sparsity by L1, weighted by decoder norms. Lindsey et al. 2024.

sum      E_t Σ_j f_tj Σ_s ‖d_j^s‖            has a kink at ‖d_j^s‖ = 0, so exclusive latents
                                             can be optimal
concat   E_t Σ_j f_tj sqrt(Σ_s ‖d_j^s‖²)     is smooth there and never gives exact zeros
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from crosscoder.core.requirements import Requirements
from crosscoder.core.types import PerLatent
from crosscoder.losses.base import LossContext, ramp
from crosscoder.values import require_choice, require_fraction, require_number


@dataclass(frozen=True)
class L1:
    """Mean sum of activations times decoder norms.

    Args:
        norm: Sum of the sources' norms, or the norm of the concatenation.
        weight: Weight of the term. It rises linearly from 0 over the first `warmup` of the run.
        warmup: Fraction of the run.
    """

    requirements: ClassVar[Requirements] = Requirements(penalises=True)
    norm: Literal["sum", "concat"] = "sum"
    weight: float = 1.0
    warmup: float = 0.05

    def __post_init__(self) -> None:
        require_choice("loss.l1.norm", self.norm, ("sum", "concat"))
        require_number("loss.l1.weight", self.weight, least=0)
        require_fraction("loss.l1.warmup", self.warmup)

    def __call__(self, ctx: LossContext) -> Tensor:
        norms = self._combine(ctx.crosscoder.decoder_norms())
        penalty = ctx.output.code.weighted_sum(ctx.penalty_weights(norms))
        return ramp(ctx.progress, self.warmup) * ctx.mean(penalty)

    def _combine(self, norms: Tensor) -> PerLatent:
        """Return one norm per latent [n_latents] from those of the sources."""
        if self.norm == "sum":
            return norms.sum(0)
        return norms.square().sum(0).sqrt()
