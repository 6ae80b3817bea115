"""Reconstruction error, in the versions that published settings are calibrated to.

    squared      E_t Σ_s ‖e_t^s‖²              Lindsey et al. 2024, Kissane et al. 2024
    unsquared    E_t (1/S) Σ_s ‖e_t^s‖         the released trainers of Minder et al. 2025
    normalised   E_t Σ_s ‖e_t^s‖² / d_total    Gao et al. 2024: in training units, the fraction of
                                               variance unexplained

Each source's summand can have a weight.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from crosscoder.core.requirements import Requirements
from crosscoder.core.sources import Sources
from crosscoder.core.types import Acts, PerToken
from crosscoder.errors import UserError
from crosscoder.losses.base import LossContext
from crosscoder.values import require_choice, require_number


@dataclass(frozen=True)
class Reconstruction:
    """Error of the reconstruction of all sources.

    Args:
        kind: Squared, unsquared or normalised error; see above.
        weight: Weight of the term.
        by_source: Weights of single sources; 1 for a source that it does not name.
    """

    kind: Literal["squared", "unsquared", "normalised"] = "squared"
    weight: float = 1.0
    by_source: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = ("squared", "unsquared", "normalised")
        require_choice("loss.reconstruction.kind", self.kind, kinds)
        require_number("loss.reconstruction.weight", self.weight, above=0)
        for name, weight in self.by_source.items():
            require_number(f"loss.reconstruction.by_source.{name}", weight, least=0)

    @property
    def requirements(self) -> Requirements:
        """Return that the term reconstructs, and whether its error is the squared one."""
        return Requirements(
            reconstructs=True,
            squared_error=self.kind == "squared",
            supports_latent_sharding=True,
        )

    def __call__(self, ctx: LossContext) -> Tensor:
        error = ctx.acts - ctx.output.recon
        return ctx.mean(self.loss_per_token(error, ctx.crosscoder.sources))

    def loss_per_token(self, error: Acts, sources: Sources) -> PerToken:
        """Return the loss of every token, from its error."""
        self._require_known(sources)
        errors = sources.split(error)
        weights = [self.by_source.get(name, 1.0) for name in errors]
        if self.kind == "unsquared":
            losses = [part.norm(dim=-1) / len(sources) for part in errors.values()]
        elif self.by_source:
            losses = [part.square().sum(-1) for part in errors.values()]
        else:  # one pass instead of one per source
            weights = [1.0]
            losses = [error.square().sum(-1)]
        total = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        if self.kind == "normalised":
            return total / sources.d_total  # type: ignore[return-value]
        return total  # type: ignore[return-value]

    def _require_known(self, sources: Sources) -> None:
        unknown = sorted(set(self.by_source) - set(sources.names))
        if unknown:
            raise UserError(
                f"loss.reconstruction.by_source names unknown sources {', '.join(unknown)}; "
                f"expected some of {sources.describe()}"
            )
