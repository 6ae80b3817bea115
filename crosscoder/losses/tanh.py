"""A penalty that large activations do not feel. Anthropic's January 2025 update, known from a re-implementation.

    E_t Σ_j tanh(c · f_tj Σ_s ‖d_j^s‖)

rises like L1 where a latent is barely active and is flat where it is strongly so; with learnt thresholds it is nearly L0.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from crosscoder.losses.base import LossInput, ramp


@dataclass(frozen=True)
class Tanh:
    """See the module's docstring. The weight rises linearly from 0 over the first `warmup` of the run, there all of it."""

    penalises: ClassVar[bool] = True
    weight: float = 20.0
    c: float = 4.0
    warmup: float = 1.0

    def __call__(self, given: LossInput) -> Tensor:
        norms = self.c * given.crosscoder.decoder_norms().sum(0)
        bent = given.output.code.scaled(norms, torch.tanh)
        return ramp(given.progress, self.warmup) * given.mean(bent.weighted(given.penalised(torch.ones_like(norms))))
