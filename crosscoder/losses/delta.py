"""The difference is to be written by latents that are not designated as shared. Delta-Crosscoder, arXiv 2603.04426.

    E_t ‖(x_t^c − x_t^b) − (W_dec^c − W_dec^b) (m ⊙ f_t) − (b_dec^c − b_dec^b)‖²,      m_j = 0 for shared latents

Known from secondary sources; without the mask it is the member λ = −1 of the family in covariance.py.
"""

from dataclasses import dataclass

from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.losses.base import LossInput


@dataclass(frozen=True)
class Delta:
    """See the module's docstring; the first `shared` of the latents are masked (constraints/shared_latents.py)."""

    weight: float = 0.005
    shared: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.shared < 1:
            raise UserError(f"delta.shared is a share of the latents, from 0 to below 1, not {self.shared}")

    def __call__(self, given: LossInput) -> Tensor:
        crosscoder = given.crosscoder
        chat, base = crosscoder.sources.comparable("the error of the difference")
        first = round(self.shared * crosscoder.n_latents)
        code = given.output.code.part(first, crosscoder.n_latents)
        written = code.decode((crosscoder.decoder(chat) - crosscoder.decoder(base))[first:])
        x, bias = crosscoder.sources.split(given.acts), crosscoder.sources.split(crosscoder.b_dec)
        return given.mean((x[chat] - x[base] - written - bias[chat] + bias[base]).square().sum(-1))
