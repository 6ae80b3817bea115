"""Penalty that saturates for large activations. Anthropic's January 2025 update.

    E_t Σ_j tanh(c · f_tj Σ_s ‖d_j^s‖)

It rises like L1 where a latent is barely active and is flat where it is strongly active. With
learned thresholds it is nearly L0. The form is known from a re-implementation.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from crosscoder.core.requirements import Requirements
from crosscoder.losses.base import LossContext, ramp
from crosscoder.values import require_fraction, require_number


@dataclass(frozen=True)
class Tanh:
    """Mean sum of the saturated contributions of latents.

    Args:
        weight: Weight of the term. It rises linearly from 0 over the first `warmup` of the run.
        c: Steepness: contributions far above 1/c are not penalised any further.
        warmup: Fraction of the run; by default all of it.
    """

    requirements: ClassVar[Requirements] = Requirements(penalises=True)
    weight: float = 20.0
    c: float = 4.0
    warmup: float = 1.0

    def __post_init__(self) -> None:
        require_number("loss.tanh.weight", self.weight, least=0)
        require_number("loss.tanh.c", self.c, above=0)
        require_fraction("loss.tanh.warmup", self.warmup)

    def __call__(self, ctx: LossContext) -> Tensor:
        norms = self.c * ctx.crosscoder.decoder_norms().sum(0)
        saturated = ctx.output.code.map_values(norms, torch.tanh)
        penalty = saturated.weighted_sum(ctx.penalty_weights(torch.ones_like(norms)))
        return ramp(ctx.progress, self.warmup) * ctx.mean(penalty)
