"""Designated shared latents with equal decoders and a lower penalty. Mishra-Sharma et al. 2025.

    d_j^s = d_j for j ∈ S
    λ_S Σ_{j∈S} f_j Σ_s ‖d_j^s‖ + λ Σ_{j∉S} f_j Σ_s ‖d_j^s‖,   λ_S / λ ≈ 0.1 to 0.2

S learns what the models have in common, so the other latents need not. Without it exclusive latents
fire ten times as often as shared ones and have many meanings. S are the first latents; decoders are
equal in training units.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from crosscoder.constraints.base import count_latents
from crosscoder.core.model import Crosscoder
from crosscoder.core.requirements import Requirements
from crosscoder.core.types import PerLatent
from crosscoder.errors import UserError
from crosscoder.values import is_finite, require_fraction


@dataclass(frozen=True)
class SharedLatents:
    """Latents that write the same into all sources.

    Args:
        share: Fraction of the latents; published: 10,000 of 250,000.
        discount: λ_S / λ.
    """

    requirements: ClassVar[Requirements] = Requirements(claims="the first latents")
    share: float = 0.04
    discount: float = 0.15

    def __post_init__(self) -> None:
        require_fraction("shared_latents.share", self.share)
        if not (is_finite(self.discount) and self.discount >= 0):
            raise UserError(f"shared_latents.discount is a number from 0, not {self.discount!r}")

    @torch.no_grad()
    def begin(self, crosscoder: Crosscoder) -> None:
        if len(set(crosscoder.sources.widths)) > 1:
            raise UserError(
                "shared latents write the same into all sources: expected sources of one width, "
                f"found {crosscoder.sources.describe()}"
            )

    @torch.no_grad()
    def project(self, crosscoder: Crosscoder) -> None:
        n_shared = self._count(crosscoder)
        n_sources = len(crosscoder.sources)
        decoders = crosscoder.W_dec[:n_shared].unflatten(-1, (n_sources, -1))
        crosscoder.W_dec[:n_shared] = decoders.mean(1).repeat(1, n_sources)

    def penalty(self, crosscoder: Crosscoder) -> PerLatent:
        factors = torch.ones(crosscoder.n_latents, device=crosscoder.W_dec.device)
        factors[: self._count(crosscoder)] = self.discount
        return factors

    def _count(self, crosscoder: Crosscoder) -> int:
        return count_latents(self.share, crosscoder, "shared_latents.share")
