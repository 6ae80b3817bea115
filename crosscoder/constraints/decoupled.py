"""Decoupled codes: a latent is read by one encoder, and whether it is active is decided for each source by itself.

    v_j^s = relu(pre_j) · ‖d_j^s‖,     x̂^s = Σ_j f_j^s d_j^s + b^s,     f_j^s = pre_j where v_j^s is among the largest

The released trainers of Minder et al. 2025 have it as a way to normalise codes. Each latent has a row for every source, which
writes it alone; there every source has its own k and threshold, here all rows compete for one.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from crosscoder.constraints.base import begin_alike, rows_of
from crosscoder.model import Crosscoder
from crosscoder.types import PerLatent


@dataclass(frozen=True)
class Decoupled:
    """See the module's docstring; n_latents is as many times the number of latents as there are sources."""

    claims: ClassVar[str] = "all latents"

    def begin(self, crosscoder: Crosscoder) -> None:
        begin_alike(len(crosscoder.sources), crosscoder, "a decoupled crosscoder")

    @torch.no_grad()
    def project(self, crosscoder: Crosscoder) -> None:
        parts = rows_of(len(crosscoder.sources), crosscoder)
        for weight in (crosscoder.W_enc, crosscoder.b_enc):
            mean = torch.stack([weight[part] for part in parts]).mean(0)
            for part in parts:
                weight[part] = mean
        for source, part in zip(crosscoder.sources.names, parts, strict=True):
            for other in set(crosscoder.sources.names) - {source}:
                crosscoder.decoder(other)[part] = 0

    def penalty(self, crosscoder: Crosscoder) -> PerLatent:
        return torch.ones(crosscoder.n_latents, device=crosscoder.W_dec.device)
