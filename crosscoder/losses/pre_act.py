"""Keeps thresholds in reach: latents that are nowhere active get a gradient, too. Anthropic's January 2025 update.

E_t Σ_j relu(θ_j − pre_tj) Σ_s ‖d_j^s‖
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from crosscoder.activations.learnt_jumprelu import thresholds_of
from crosscoder.losses.base import LossInput


@dataclass(frozen=True)
class PreAct:
    """See the module's docstring."""

    needs: ClassVar[str] = "thresholds"
    weight: float = 3e-6

    def __call__(self, given: LossInput) -> Tensor:
        short = (thresholds_of(given.crosscoder.activation).threshold - given.every_pre).relu()
        return given.mean(short @ given.crosscoder.decoder_norms().sum(0))
