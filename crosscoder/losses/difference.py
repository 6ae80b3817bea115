"""The error of the difference itself, which errors of the streams, being much larger, hide.

squared      E_t ‖e_t^c − e_t^b‖²         beside the squared error the family of covariance.py, in another parametrisation
unsquared    E_t ‖e_t^c − e_t^b‖          beside the un-squared one

With `shared` > 0 the first latents are designated as shared (constraints/shared_latents.py) and may not explain it,

    e^c − e^b = (x^c − x^b) − (W_dec^c − W_dec^b) (m ⊙ f) − (b_dec^c − b_dec^b),      m_j = 0 for shared latents

which is Delta-Crosscoder's loss, arXiv 2603.04426, known from secondary sources.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.losses.base import LossInput


@dataclass(frozen=True)
class Difference:
    """See the module's docstring."""

    kind: Literal["squared", "unsquared"] = "squared"
    weight: float = 1.0
    shared: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("squared", "unsquared"):
            raise UserError(f"the error of the difference is squared or unsquared, not {self.kind!r}")
        if not 0 <= self.shared < 1:
            raise UserError(f"shared is a share of the latents, from 0 to below 1, not {self.shared}")

    @property
    def shares_latents(self) -> bool:
        """Only without latents that are counted as shared by both sources."""
        return not self.shared

    def __call__(self, given: LossInput) -> Tensor:
        crosscoder, output = given.crosscoder, given.output
        chat, base = crosscoder.sources.compared("the error of the difference")
        error = crosscoder.sources.split(given.acts - output.recon)
        error = error[chat] - error[base]
        if first := round(self.shared * crosscoder.n_latents):  # what shared latents wrote is not theirs to explain
            W_dec = (crosscoder.decoder(chat) - crosscoder.decoder(base))[:first]
            error = error + output.code.part(0, first).decode(W_dec.contiguous())
        return given.mean(error.square().sum(-1) if self.kind == "squared" else error.norm(dim=-1))
