"""Nested dictionaries: the first latents alone must reconstruct, too. Bussmann et al. 2025.

    (1 / G) Σ_g ‖x − b_dec − Σ_{j < m_g} f_j d_j‖²,      m_1 < … < m_G = n_latents

The first latents learn general features, which special ones then do not absorb. The code is that of
all latents. This term replaces `reconstruction`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from crosscoder.core.requirements import Requirements
from crosscoder.errors import UserError
from crosscoder.losses.base import LossContext
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.values import is_finite, require_number


@dataclass(frozen=True)
class Matryoshka:
    """Mean reconstruction error over nested prefixes of the dictionary.

    Args:
        prefixes: Fractions of the latents, rising; the last one is 1.
        kind: Kind of error; see reconstruction.py.
        weight: Weight of the term.
    """

    requirements: ClassVar[Requirements] = Requirements(
        reconstructs=True, claims="the first latents"
    )
    prefixes: Sequence[float] = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
    kind: Literal["squared", "unsquared", "normalised"] = "squared"
    weight: float = 1.0

    def __post_init__(self) -> None:
        Reconstruction(self.kind)  # refuses an unknown kind
        require_number("loss.matryoshka.weight", self.weight, least=0)
        prefixes = [*self.prefixes]
        if not _are_nested(prefixes):
            raise UserError(f"matryoshka.prefixes rise from above 0 to 1, not {prefixes}")

    def __call__(self, ctx: LossContext) -> Tensor:
        crosscoder = ctx.crosscoder
        reconstruction = Reconstruction(self.kind)
        recon = crosscoder.b_dec.expand_as(ctx.acts)
        losses = []
        start = 0
        for prefix in self.prefixes:
            end = max(1, round(prefix * crosscoder.n_latents))
            # each prefix adds its new latents to the reconstruction of the one before
            recon = recon + ctx.output.code.slice(start, end).decode(crosscoder.W_dec[start:end])
            per_token = reconstruction.loss_per_token(ctx.acts - recon, crosscoder.sources)
            losses.append(ctx.mean(per_token))
            start = end
        return sum(losses) / len(losses)  # type: ignore[return-value]


def _are_nested(prefixes: Sequence[float]) -> bool:
    """Return whether fractions rise from above 0 to 1."""
    if not prefixes or not all(is_finite(prefix) for prefix in prefixes):
        return False
    is_rising = list(prefixes) == sorted(set(prefixes))
    return is_rising and prefixes[0] > 0 and prefixes[-1] == 1
