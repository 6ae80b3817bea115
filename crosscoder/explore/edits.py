"""Edits of the page: a factor for each chosen latent, on one model or both, at some positions."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from crosscoder.core.intervention import Intervention
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.interventions.ablate import scale_each
from crosscoder.lm.editing.positions import PositionRule, TokenHistory
from crosscoder.values import require_number

BOTH = "both"
LARGEST_FACTOR = 4.0


@dataclass(frozen=True)
class LatentEdit:
    """Factor of one latent.

    Args:
        latent: Index of the latent.
        factor: 0 ablates it, 1 leaves it unchanged; from −4 to 4.
        on: Model that is edited; "both" for both.
    """

    latent: int
    factor: float
    on: str = BOTH

    def __post_init__(self) -> None:
        bound = LARGEST_FACTOR
        require_number(f"the factor of latent {self.latent}", self.factor, least=-bound, most=bound)


@dataclass(frozen=True)
class Edits:
    """All edits of one generation.

    Args:
        latents: Factor of each chosen latent.
        positions: Positions as `Pair.edit` knows them.
    """

    latents: list[LatentEdit] = field(default_factory=list)
    positions: str = "all"

    def get_factors(self, model: str) -> dict[int, float]:
        """Return the factors by latent that act on a model; those of 1 change nothing.

        Raises:
            UserError: A latent is chosen twice.
        """
        factors: dict[int, float] = {}
        for edit in self.latents:
            if edit.on not in (BOTH, model):
                continue
            if edit.latent in factors:
                raise UserError(f"latent {edit.latent} is chosen twice: remove one of the two")
            factors[edit.latent] = float(edit.factor)
        return {latent: factor for latent, factor in factors.items() if factor != 1}

    def build(self, crosscoder: Crosscoder, model: str) -> Intervention | None:
        """Return the intervention on a model; None if nothing of it is edited."""
        factors = self.get_factors(model)
        return scale_each(crosscoder, factors) if factors else None


def edit_last_row(rule: PositionRule, n_prompt: int) -> PositionRule:
    """Return a rule that edits the last row of a batch as `rule` says, and no other row.

    The unedited and the edited answer are then rows of one batch.

    Args:
        rule: Rule for a conversation.
        n_prompt: Number of tokens in the prompt; an opening that comes later begins no answer.
    """

    def choose(history: TokenHistory) -> Tensor:
        last = TokenHistory(history.ids[-1:], n_prompt, n_provided=n_prompt)
        chosen = torch.zeros_like(history.ids, dtype=torch.bool)
        chosen[-1:] = rule(last)
        return chosen

    return choose
