"""The family between a crosscoder and an SAE of the difference: how errors of the two models go together.

    ‖e^c‖² + ‖e^b‖² + λ · 2 ⟨e^c, e^b⟩,   λ ∈ [−1, 0]

λ = 0 is the crosscoder; λ = −1 is ‖e^c − e^b‖², the error of the difference alone (Dumas, Minder, Nanda 2025; known from
secondary sources). This term is λ · 2 E ⟨e^c, e^b⟩, to be added to the squared reconstruction.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.losses.base import LossInput


@dataclass(frozen=True)
class Covariance:
    """See the module's docstring; `weight` is 2 λ, so from −2 to 0."""

    shares_latents: ClassVar[bool] = True
    weight: float = -1.0

    def __post_init__(self) -> None:
        if not -2 <= self.weight <= 0:
            raise UserError(f"covariance.weight is 2 λ with λ from -1 to 0, not {self.weight}")

    def __call__(self, given: LossInput) -> Tensor:
        sources = given.crosscoder.sources
        error = sources.split(given.acts - given.output.recon)
        first, second = (error[name] for name in sources.compared("the covariance of errors"))
        return given.mean((first * second).sum(-1))
