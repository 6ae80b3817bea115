"""Tied crosscoder: a latent has one decoder and three codes, of what both models do with it and of what either does alone.

    x̂^m = Σ_i (f_i^S + f_i^m) d_i^m + b^m        Σ f_i^S (‖d_i^b‖ + ‖d_i^c‖) + η Σ (f_i^b ‖d_i^b‖ + f_i^c ‖d_i^c‖),   η = 1.5

so that a direction of the base that the chat model uses elsewhere is no new latent (Aranguri 2025). Each code is a row of the
dictionary with its own encoder: first all f^S, then the contrast's second source's (base), then its first one's (chat).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from crosscoder.constraints.base import begin_alike, rows_of
from crosscoder.errors import UserError
from crosscoder.model import Crosscoder
from crosscoder.types import PerLatent


@dataclass(frozen=True)
class Tied:
    """See the module's docstring; n_latents is three times as many as there are decoders.

    Args:
        eta: η.
    """

    claims: ClassVar[str] = "all latents"
    eta: float = 1.5

    def begin(self, crosscoder: Crosscoder) -> None:
        if not crosscoder.sources.contrast or len(crosscoder.sources) != 2:
            raise UserError("a tied crosscoder is of two contrasted sources")
        if self.eta < 0:
            raise UserError(f"tied.eta is a factor from 0, not {self.eta}")
        begin_alike(3, crosscoder, "a tied crosscoder")

    @torch.no_grad()
    def project(self, crosscoder: Crosscoder) -> None:
        both, *alone = rows_of(3, crosscoder)
        chat, base = crosscoder.sources.contrast  # type: ignore[misc]
        for source, other, own in ((base, chat, alone[0]), (chat, base, alone[1])):
            decoder = crosscoder.decoder(source)
            decoder[both] = decoder[own] = (decoder[both] + decoder[own]) / 2
            crosscoder.decoder(other)[own] = 0

    def penalty(self, crosscoder: Crosscoder) -> PerLatent:
        weights = torch.full((crosscoder.n_latents,), self.eta, device=crosscoder.W_dec.device)
        weights[: crosscoder.n_latents // 3] = 1
        return weights
