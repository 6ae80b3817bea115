"""Decoupled codes: one encoder per latent, and a separate decision for each source if it is active.

    v_j^s = relu(pre_j) · ‖d_j^s‖,     x̂^s = Σ_j f_j^s d_j^s + b^s
    f_j^s = pre_j where v_j^s is among the largest, else 0

The released trainers of Minder et al. 2025 offer it as a way to normalise codes. Each latent has a
row for every source, which writes to that source alone. In those trainers every source has its own
k and threshold; here all rows compete for one.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from crosscoder.constraints.base import split_rows, tie_blocks
from crosscoder.core.model import Crosscoder
from crosscoder.core.requirements import Requirements
from crosscoder.core.types import PerLatent


@dataclass(frozen=True)
class Decoupled:
    """One row per latent and source; `n_latents` counts rows, so latents times sources."""

    requirements: ClassVar[Requirements] = Requirements(claims="all latents")

    def begin(self, crosscoder: Crosscoder) -> None:
        tie_blocks(len(crosscoder.sources), crosscoder, "a decoupled crosscoder")

    @torch.no_grad()
    def project(self, crosscoder: Crosscoder) -> None:
        sources = crosscoder.sources.names
        blocks = split_rows(len(sources), crosscoder)
        for weight in (crosscoder.W_enc, crosscoder.b_enc):
            mean = torch.stack([weight[block] for block in blocks]).mean(0)
            for block in blocks:
                weight[block] = mean
        for source, block in zip(sources, blocks, strict=True):
            for other in set(sources) - {source}:
                crosscoder.decoder(other)[block] = 0

    def penalty(self, crosscoder: Crosscoder) -> PerLatent:
        return torch.ones(crosscoder.n_latents, device=crosscoder.W_dec.device)
