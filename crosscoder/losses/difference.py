"""Error of the difference of two sources, which the much larger errors of the streams hide.

    squared      E_t ‖e_t^c − e_t^b‖²     with the squared error, the family of covariance.py in
                                          another parametrisation
    unsquared    E_t ‖e_t^c − e_t^b‖      goes with the unsquared error

With `shared` > 0 the first latents are designated as shared (constraints/shared_latents.py) and may
not explain the difference:

    e^c − e^b = (x^c − x^b) − (W_dec^c − W_dec^b) (m ⊙ f) − (b_dec^c − b_dec^b)
    m_j = 0 for shared latents, else 1

This is Delta-Crosscoder's loss, arXiv 2603.04426, known from secondary sources.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from crosscoder.core.requirements import Requirements
from crosscoder.errors import UserError
from crosscoder.losses.base import LossContext
from crosscoder.values import is_finite, require_choice, require_number


@dataclass(frozen=True)
class Difference:
    """Error of the difference of the two compared sources.

    Args:
        kind: Squared or unsquared norm of the error.
        weight: Weight of the term.
        shared: Fraction of the latents, the first ones, that may not explain the difference.
    """

    kind: Literal["squared", "unsquared"] = "squared"
    weight: float = 1.0
    shared: float = 0.0

    def __post_init__(self) -> None:
        require_choice("loss.difference.kind", self.kind, ("squared", "unsquared"))
        require_number("loss.difference.weight", self.weight, least=0)
        if not (is_finite(self.shared) and 0 <= self.shared < 1):
            raise UserError(
                "loss.difference.shared is a fraction of the latents, from 0 to below 1, "
                f"not {self.shared!r}"
            )

    @property
    def requirements(self) -> Requirements:
        """Return that latents can be sharded if none of them is designated as shared."""
        return Requirements(supports_latent_sharding=not self.shared)

    def __call__(self, ctx: LossContext) -> Tensor:
        crosscoder = ctx.crosscoder
        chat, base = crosscoder.sources.require_comparable("the error of the difference")
        errors = crosscoder.sources.split(ctx.acts - ctx.output.recon)
        error = errors[chat] - errors[base]
        n_shared = round(self.shared * crosscoder.n_latents)
        if n_shared:
            # take back what shared latents wrote: it does not count as explained
            W_dec = (crosscoder.decoder(chat) - crosscoder.decoder(base))[:n_shared]
            error = error + ctx.output.code.slice(0, n_shared).decode(W_dec.contiguous())
        if self.kind == "squared":
            return ctx.mean(error.square().sum(-1))
        return ctx.mean(error.norm(dim=-1))
