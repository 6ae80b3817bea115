"""What a constraint is: it puts weights where they may be, before the first step and after every one."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch

from crosscoder.errors import UserError
from crosscoder.model import Crosscoder
from crosscoder.types import PerLatent


@runtime_checkable
class Constraint(Protocol):
    """See the module's docstring.

    It may say of itself what it `claims`: which latents it gives a part to, so that no other gives them another.
    """

    def begin(self, crosscoder: Crosscoder) -> None:
        """Prepare fresh weights.

        Raises:
            UserError: this crosscoder cannot be constrained so.
        """
        ...

    def project(self, crosscoder: Crosscoder) -> None:
        """Put weights [in place, without gradient] where they may be."""
        ...

    def penalty(self, crosscoder: Crosscoder) -> PerLatent:
        """By what sparsity penalties are multiplied, [n_latents]; 1 where the constraint says nothing of them."""
        ...


def penalties(constraints: Iterable[Constraint], crosscoder: Crosscoder) -> PerLatent:
    """The product of what all constraints say, [n_latents]."""
    weights = torch.ones(crosscoder.n_latents, device=crosscoder.W_dec.device)
    for constraint in constraints:
        weights = weights * constraint.penalty(crosscoder)
    return weights


def share_of(share: float, crosscoder: Crosscoder, what: str) -> int:
    """How many latents a share of the dictionary is."""
    if not 0 <= share <= 1:
        raise UserError(f"{what} is a share of the latents, from 0 to 1, not {share}")
    return round(share * crosscoder.n_latents)


def rows_of(parts: int, crosscoder: Crosscoder) -> list[slice]:
    """The dictionary's rows in so many equal parts; row i of each is the same latent."""
    n = crosscoder.n_latents // parts
    return [slice(part * n, (part + 1) * n) for part in range(parts)]


@torch.no_grad()
def begin_alike(parts: int, crosscoder: Crosscoder, what: str) -> None:
    """Make `rows_of` one latent: the weights of its first row, and its number."""
    if crosscoder.n_latents % parts:
        raise UserError(
            f"{what} has {parts} rows for each latent: n_latents={crosscoder.n_latents} is no multiple of {parts}"
        )
    first, *others = rows_of(parts, crosscoder)
    for part in others:
        crosscoder.W_enc[part], crosscoder.W_dec[part] = crosscoder.W_enc[first], crosscoder.W_dec[first]
    crosscoder.groups = torch.arange(first.stop, device=crosscoder.W_dec.device).repeat(parts)
