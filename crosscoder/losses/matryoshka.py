"""Nested dictionaries: the first latents alone must reconstruct, too. Bussmann et al. 2025.

    (1 / G) Σ_g ‖x − b_dec − Σ_{j < m_g} f_j d_j‖²,      m_1 < … < m_G = n_latents

so that general features are learnt by the first latents and not absorbed by special ones. The code is that of all latents. In
the place of `reconstruction`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.losses.base import LossInput
from crosscoder.losses.reconstruction import Reconstruction


@dataclass(frozen=True)
class Matryoshka:
    """See the module's docstring.

    Args:
        prefixes: shares of the latents, rising, the last one 1.
        kind: of error; see reconstruction.py.
        weight: of the term.
    """

    claims: ClassVar[str] = "the first latents"
    prefixes: Sequence[float] = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
    kind: Literal["squared", "unsquared", "normalised"] = "squared"
    weight: float = 1.0

    def __post_init__(self) -> None:
        Reconstruction(self.kind)  # refuses a kind it does not know
        rising = [*self.prefixes]
        if not rising or rising != sorted(set(rising)) or rising[0] <= 0 or rising[-1] != 1:
            raise UserError(f"matryoshka.prefixes rise from above 0 to 1, not {rising}")

    def __call__(self, given: LossInput) -> Tensor:
        crosscoder, code = given.crosscoder, given.output.code
        size = Reconstruction(self.kind)
        ends = [max(1, round(share * crosscoder.n_latents)) for share in self.prefixes]
        recon, start, losses = crosscoder.b_dec.expand_as(given.acts), 0, []
        for end in ends:
            recon = recon + code.part(start, end).decode(crosscoder.W_dec[start:end])
            losses.append(given.mean(size.of(given.acts - recon, crosscoder.sources)))
            start = end
        return sum(losses) / len(ends)  # type: ignore[return-value]
