"""How many latents are active, penalised through learnt thresholds. Rajamanoharan et al. 2024, §3.

    E_t Σ_j H(pre_tj − θ_j)                   or, with a target L0*,
    (2 / L0*) (E_t Σ_j H(pre_tj − θ_j) − L0*)²      as the Gemma Scope 2 report has it

Only thresholds have a gradient.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from crosscoder.activations.learnt_jumprelu import thresholds_of
from crosscoder.errors import UserError
from crosscoder.losses.base import LossInput, ramp


@dataclass(frozen=True)
class L0:
    """See the module's docstring. The weight rises linearly from 0 over the first `warmup` of the run."""

    penalises: ClassVar[bool] = True
    needs: ClassVar[str] = "thresholds"
    weight: float = 1.0
    target: float | None = None
    warmup: float = 0.05

    def __post_init__(self) -> None:
        if self.target is not None and not self.target > 0:
            raise UserError(f"the L0 aimed at is positive, not {self.target}")

    def __call__(self, given: LossInput) -> Tensor:
        active = (
            thresholds_of(given.crosscoder.activation).active(given.every_pre).to(given.acts)
        )  # a count needs more than bfloat16
        weights = given.penalised(active.new_ones(active.shape[1]))
        l0 = given.mean(active @ weights)
        size = l0 if self.target is None else 2 / self.target * (l0 - self.target).square()
        return ramp(given.progress, self.warmup) * size
