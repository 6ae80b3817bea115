"""Designated shared latents: some latents write the same into all sources, at a lower penalty. Mishra-Sharma et al. 2025.

    d_j^s = d_j for j ∈ S        λ_S Σ_{j∈S} f_j Σ_s ‖d_j^s‖ + λ Σ_{j∉S} f_j Σ_s ‖d_j^s‖,   λ_S / λ ≈ 0.1 to 0.2

S takes what is common to the models, so that the others need not: without it exclusive latents fire ten times as often as
shared ones and mean many things. The first latents are S; decoders are equal in training units.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from crosscoder.constraints.base import share_of
from crosscoder.errors import UserError
from crosscoder.model import Crosscoder
from crosscoder.types import PerLatent


@dataclass(frozen=True)
class SharedLatents:
    """See the module's docstring.

    Args:
        share: of the latents; published: 10,000 of 250,000.
        discount: λ_S / λ.
    """

    claims: ClassVar[str] = "the first latents"
    share: float = 0.04
    discount: float = 0.15

    @torch.no_grad()
    def begin(self, crosscoder: Crosscoder) -> None:
        if len(set(crosscoder.sources.widths)) > 1:
            raise UserError(
                f"shared latents write the same into streams of one width, not {crosscoder.sources.describe()}"
            )
        if self.discount < 0:
            raise UserError(f"shared_latents.discount is a factor from 0, not {self.discount}")
        share_of(self.share, crosscoder, "shared_latents.share")

    @torch.no_grad()
    def project(self, crosscoder: Crosscoder) -> None:
        n, S = share_of(self.share, crosscoder, "shared_latents.share"), len(crosscoder.sources)
        common = crosscoder.W_dec[:n].unflatten(-1, (S, -1)).mean(1)
        crosscoder.W_dec[:n] = common.repeat(1, S)

    def penalty(self, crosscoder: Crosscoder) -> PerLatent:
        weights = torch.ones(crosscoder.n_latents, device=crosscoder.W_dec.device)
        weights[: share_of(self.share, crosscoder, "shared_latents.share")] = self.discount
        return weights
