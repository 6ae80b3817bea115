"""The reconstruction term, in the versions that published settings are calibrated to.

squared      E_t Σ_s ‖e_t^s‖²              Lindsey et al. 2024, Kissane et al. 2024
unsquared    E_t (1/S) Σ_s ‖e_t^s‖         the released trainers of Minder et al. 2025
normalised   E_t Σ_s ‖e_t^s‖² / d_total    Gao et al. 2024: in training units, the fraction of variance unexplained

Each source's summand can be given a weight of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.losses.base import LossInput
from crosscoder.sources import Sources
from crosscoder.types import Acts, PerToken


@dataclass(frozen=True)
class Reconstruction:
    """See the module's docstring; `by_source` holds weights, 1 for a source it does not name."""

    shares_latents: ClassVar[bool] = True
    kind: Literal["squared", "unsquared", "normalised"] = "squared"
    weight: float = 1.0
    by_source: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in ("squared", "unsquared", "normalised"):
            raise UserError(f"reconstruction is squared, unsquared or normalised, not {self.kind!r}")

    def __call__(self, given: LossInput) -> Tensor:
        return given.mean(self.of(given.acts - given.output.recon, given.crosscoder.sources))

    def of(self, error: Acts, sources: Sources) -> PerToken:
        """The loss of every token from its error."""
        if unknown := set(self.by_source) - set(sources.names):
            raise UserError(
                f"reconstruction.by_source names {', '.join(sorted(unknown))}; there is {sources.describe()}"
            )
        parts = sources.split(error)
        weights = [self.by_source.get(name, 1.0) for name in parts]
        if self.kind == "unsquared":
            sizes = [part.norm(dim=-1) / len(sources) for part in parts.values()]
        elif self.by_source:
            sizes = [part.square().sum(-1) for part in parts.values()]
        else:  # one pass instead of one per source
            weights, sizes = [1.0], [error.square().sum(-1)]
        total = sum(weight * size for weight, size in zip(weights, sizes, strict=True))
        return total / sources.d_total if self.kind == "normalised" else total  # type: ignore[return-value]
