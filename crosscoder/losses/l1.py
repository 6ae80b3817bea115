"""Sparsity by the decoder norms. Lindsey et al. 2024.

sum      E_t Σ_j f_tj Σ_s ‖d_j^s‖            has a kink at ‖d_j^s‖ = 0: exclusive latents can be optimal
concat   E_t Σ_j f_tj sqrt(Σ_s ‖d_j^s‖²)     smooth there: never gives exact zeros
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.losses.base import LossInput, ramp


@dataclass(frozen=True)
class L1:
    """See the module's docstring. The weight rises linearly from 0 over the first `warmup` of the run."""

    penalises: ClassVar[bool] = True
    norm: Literal["sum", "concat"] = "sum"
    weight: float = 1.0
    warmup: float = 0.05

    def __post_init__(self) -> None:
        if self.norm not in ("sum", "concat"):
            raise UserError(f"the norm is sum or concat, not {self.norm!r}")

    def __call__(self, given: LossInput) -> Tensor:
        by_source = given.crosscoder.decoder_norms()
        norms = by_source.sum(0) if self.norm == "sum" else by_source.square().sum(0).sqrt()
        return ramp(given.progress, self.warmup) * given.mean(given.output.code.weighted(given.penalised(norms)))
