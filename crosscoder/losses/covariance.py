"""Covariance of the two sources' errors: from a crosscoder to an SAE of the difference.

    ‖e^c‖² + ‖e^b‖² + λ · 2 ⟨e^c, e^b⟩,   λ ∈ [−1, 0]

λ = 0 is the crosscoder; λ = −1 is ‖e^c − e^b‖², the error of the difference alone (Dumas, Minder,
Nanda 2025; known from secondary sources). This term is λ · 2 E ⟨e^c, e^b⟩ and is added to the
squared reconstruction error.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from crosscoder.core.requirements import Requirements
from crosscoder.errors import UserError
from crosscoder.losses.base import LossContext
from crosscoder.values import is_finite


@dataclass(frozen=True)
class Covariance:
    """Mean product E ⟨e^c, e^b⟩ of the compared sources' errors; `weight` is 2 λ, from −2 to 0."""

    requirements: ClassVar[Requirements] = Requirements(
        needs_squared_error=True, supports_latent_sharding=True
    )
    weight: float = -1.0

    def __post_init__(self) -> None:
        if not (is_finite(self.weight) and -2 <= self.weight <= 0):
            raise UserError(f"covariance.weight is 2 λ with λ from -1 to 0, not {self.weight!r}")

    def __call__(self, ctx: LossContext) -> Tensor:
        sources = ctx.crosscoder.sources
        error = sources.split(ctx.acts - ctx.output.recon)
        first, second = sources.require_comparable("the covariance of errors")
        return ctx.mean((error[first] * error[second]).sum(-1))
