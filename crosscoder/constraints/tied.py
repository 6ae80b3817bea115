"""Tied crosscoder: one decoder per latent, and three codes. Aranguri 2025.

    x̂^m = Σ_i (f_i^S + f_i^m) d_i^m + b^m
    Σ f_i^S (‖d_i^b‖ + ‖d_i^c‖) + η Σ (f_i^b ‖d_i^b‖ + f_i^c ‖d_i^c‖),   η = 1.5

f^S is what both models do with a latent, f^b and f^c what either does alone. So a direction of the
base model that the chat model uses differently is no new latent. Each code is a row of the
dictionary with its own encoder: first all f^S, then those of the second source of the compared pair
(base), then those of its first source (chat).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from crosscoder.constraints.base import split_rows, tie_blocks
from crosscoder.core.model import Crosscoder
from crosscoder.core.requirements import Requirements
from crosscoder.core.types import PerLatent
from crosscoder.errors import UserError
from crosscoder.values import is_finite


@dataclass(frozen=True)
class Tied:
    """Three rows for each decoder; `n_latents` counts rows.

    Args:
        eta: η.
    """

    requirements: ClassVar[Requirements] = Requirements(claims="all latents")
    eta: float = 1.5

    def __post_init__(self) -> None:
        if not (is_finite(self.eta) and self.eta >= 0):
            raise UserError(f"tied.eta is a number from 0, not {self.eta!r}")

    def begin(self, crosscoder: Crosscoder) -> None:
        if not crosscoder.sources.diff_pair or len(crosscoder.sources) != 2:
            raise UserError(
                "a tied crosscoder needs exactly two sources, which are compared, "
                f"not {crosscoder.sources.describe()}"
            )
        tie_blocks(3, crosscoder, "a tied crosscoder")

    @torch.no_grad()
    def project(self, crosscoder: Crosscoder) -> None:
        chat, base = crosscoder.sources.diff_pair  # type: ignore[misc]
        both, base_alone, chat_alone = split_rows(3, crosscoder)
        _tie_decoders(crosscoder.decoder(base), both, base_alone)
        crosscoder.decoder(chat)[base_alone] = 0
        _tie_decoders(crosscoder.decoder(chat), both, chat_alone)
        crosscoder.decoder(base)[chat_alone] = 0

    def penalty(self, crosscoder: Crosscoder) -> PerLatent:
        factors = torch.full((crosscoder.n_latents,), self.eta, device=crosscoder.W_dec.device)
        factors[: crosscoder.n_latents // 3] = 1
        return factors


def _tie_decoders(decoder: torch.Tensor, one: slice, other: slice) -> None:
    """Replace two blocks of rows by their mean."""
    mean = (decoder[one] + decoder[other]) / 2
    decoder[one] = mean
    decoder[other] = mean
