"""The reconstruction term, in the versions that published settings are calibrated to.

squared      E_t Σ_s ‖e_t^s‖²              Lindsey et al. 2024, Kissane et al. 2024
unsquared    E_t (1/S) Σ_s ‖e_t^s‖         the released trainers of Minder et al. 2025
normalised   E_t Σ_s ‖e_t^s‖² / d_total    Gao et al. 2024: in training units, the fraction of variance unexplained
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.losses.base import LossInput


@dataclass(frozen=True)
class Reconstruction:
    """See the module's docstring."""

    kind: Literal["squared", "unsquared", "normalised"] = "squared"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("squared", "unsquared", "normalised"):
            raise UserError(f"reconstruction is squared, unsquared or normalised, not {self.kind!r}")

    def __call__(self, given: LossInput) -> Tensor:
        error = given.acts - given.output.recon
        if self.kind == "squared":
            return given.mean(error.square().sum(-1))
        if self.kind == "normalised":
            return given.mean(error.square().mean(-1))
        norms = torch.stack([part.norm(dim=-1) for part in error.split(given.crosscoder.sources.widths, dim=-1)])
        return given.mean(norms.mean(0))
