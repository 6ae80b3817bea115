"""Loss that gives latents a gradient that are nowhere active. Anthropic's January 2025 update.

    E_t Σ_j relu(θ_j − pre_tj) Σ_s ‖d_j^s‖

It keeps thresholds in reach of the pre-activations.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from crosscoder.core.activations.learnt_jumprelu import require_thresholds
from crosscoder.core.requirements import Requirements
from crosscoder.losses.base import LossContext
from crosscoder.values import require_number


@dataclass(frozen=True)
class PreAct:
    """Mean distance of pre-activations below their thresholds, weighted by decoder norms."""

    requirements: ClassVar[Requirements] = Requirements(needs="thresholds")
    weight: float = 3e-6

    def __post_init__(self) -> None:
        require_number("loss.pre_act.weight", self.weight, least=0)

    def __call__(self, ctx: LossContext) -> Tensor:
        threshold = require_thresholds(ctx.crosscoder.activation).threshold
        shortfall = (threshold - ctx.every_pre).relu()
        return ctx.mean(shortfall @ ctx.crosscoder.decoder_norms().sum(0))
