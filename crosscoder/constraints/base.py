"""Interface of constraints: they project the weights before the first step and after every step."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch

from crosscoder.core.model import Crosscoder
from crosscoder.core.requirements import Requirements
from crosscoder.core.types import PerLatent
from crosscoder.errors import UserError


@runtime_checkable
class Constraint(Protocol):
    """A constraint on the weights of a crosscoder."""

    @property
    def requirements(self) -> Requirements:
        """Return what the constraint can be combined with; a class attribute will do."""
        ...

    def begin(self, crosscoder: Crosscoder) -> None:
        """Prepare fresh weights.

        Raises:
            UserError: The constraint cannot be applied to this crosscoder.
        """
        ...

    def project(self, crosscoder: Crosscoder) -> None:
        """Put weights, in place and without gradient, where the constraint allows them."""
        ...

    def penalty(self, crosscoder: Crosscoder) -> PerLatent:
        """Return factors on sparsity penalties, [n_latents]; 1 leaves a latent's penalty alone."""
        ...


def penalties(constraints: Iterable[Constraint], crosscoder: Crosscoder) -> PerLatent:
    """Return the product of the constraints' penalty factors, [n_latents]."""
    factors = torch.ones(crosscoder.n_latents, device=crosscoder.W_dec.device)
    for constraint in constraints:
        factors = factors * constraint.penalty(crosscoder)
    return factors


def count_latents(fraction: float, crosscoder: Crosscoder, setting: str) -> int:
    """Return how many latents a fraction of the dictionary is; `setting` names it in errors."""
    if not 0 <= fraction <= 1:
        raise UserError(f"{setting} is a fraction of the latents, from 0 to 1, not {fraction}")
    return round(fraction * crosscoder.n_latents)


def split_rows(n_blocks: int, crosscoder: Crosscoder) -> list[slice]:
    """Return the dictionary's rows in equal blocks; row i of each block is the same latent."""
    n = crosscoder.n_latents // n_blocks
    return [slice(block * n, (block + 1) * n) for block in range(n_blocks)]


@torch.no_grad()
def tie_blocks(n_blocks: int, crosscoder: Crosscoder, name: str) -> None:
    """Give the blocks of `split_rows` the weights and the latent numbers of the first block."""
    n_latents = crosscoder.n_latents
    if n_latents % n_blocks:
        raise UserError(
            f"{name} has {n_blocks} rows for each latent, "
            f"but n_latents={n_latents} is not a multiple of {n_blocks}"
        )
    first, *others = split_rows(n_blocks, crosscoder)
    for block in others:
        crosscoder.W_enc[block] = crosscoder.W_enc[first]
        crosscoder.W_dec[block] = crosscoder.W_dec[first]
    latents = torch.arange(first.stop, device=crosscoder.W_dec.device)
    crosscoder.groups = latents.repeat(n_blocks)
