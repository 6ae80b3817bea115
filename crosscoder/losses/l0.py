"""Penalty on the number of active latents, for learned thresholds. Rajamanoharan et al. 2024, §3.

    E_t Σ_j H(pre_tj − θ_j)                         or, with a target L0*,
    (2 / L0*) (E_t Σ_j H(pre_tj − θ_j) − L0*)²      as in the Gemma Scope 2 report

Only thresholds have a gradient.
"""

from dataclasses import dataclass

from torch import Tensor

from crosscoder.core.activations.learnt_jumprelu import require_thresholds
from crosscoder.core.requirements import Requirements
from crosscoder.errors import UserError
from crosscoder.losses.base import LossContext, ramp
from crosscoder.values import is_finite, require_fraction, require_number


@dataclass(frozen=True)
class L0:
    """Mean number of active latents, or its squared distance to a target.

    Args:
        weight: Weight of the term. It rises linearly from 0 over the first `warmup` of the run.
        target: Active latents per token to aim at; None: as few as possible.
        warmup: Fraction of the run.
    """

    weight: float = 1.0
    target: float | None = None
    warmup: float = 0.05

    def __post_init__(self) -> None:
        require_number("loss.l0.weight", self.weight, least=0)
        require_fraction("loss.l0.warmup", self.warmup)
        if self.target is not None and not (is_finite(self.target) and self.target > 0):
            raise UserError(f"loss.l0.target is a positive number or null, not {self.target!r}")

    @property
    def requirements(self) -> Requirements:
        """Return that the term penalises and needs thresholds, and whether it has a target."""
        return Requirements(
            penalises=True, needs="thresholds", has_l0_target=self.target is not None
        )

    def __call__(self, ctx: LossContext) -> Tensor:
        active = require_thresholds(ctx.crosscoder.activation).active(ctx.every_pre)
        active = active.to(ctx.acts)  # bfloat16 cannot count precisely enough
        weights = ctx.penalty_weights(active.new_ones(active.shape[1]))
        l0 = ctx.mean(active @ weights)
        if self.target is not None:
            l0 = 2 / self.target * (l0 - self.target).square()
        return ramp(ctx.progress, self.warmup) * l0
