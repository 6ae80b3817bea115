"""Presence of a latent in the other model: one number that ranks and calls exclusive latents.

For a latent of the chat model

    presence_j = max(‖d_j^base‖ / ‖d_j^chat‖,  10 (ν_j^ε + 0.02),  −2 (ν_j^ε + 0.02),  c_j)

where c_j is 1 if the latent's `max_cross_cosine` exceeds 0.9, else 0; mirrored for a base latent.
The ratio of norms alone cannot tell a feature that base lacks from a weak feature of base. For the
former, the base decoder learns whatever is active together with it, in any direction, and easily
reaches a tenth of the chat norm. But a feature that is weak in base points the same way in both
models, so ν^ε (scaling.py), with its sign, is its strength there. Exclusive latents have a ν^ε
slightly below zero: their encoders read the difference of the models, so they are active a little
more often where base happens to point away. Latents far below zero are mixtures. A direction that
another latent writes into base (twins.py) is not exclusive either.

The numbers were chosen on planted worlds (docs/recovery.md); there most latents with a presence
below `EXCLUSIVE` are exclusive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from crosscoder.analysis.base import ColumnNeeds, ComputedColumn, TableContext

SLOPE = 10.0
NEGATIVE_SLOPE = 2.0
SHIFT = 0.02
SAME_DIRECTION = 0.9  # of max_cross_cosine
EXCLUSIVE = 0.4


@dataclass(frozen=True)
class Presence(ComputedColumn):
    """Columns `presence/<source>`: presence of that source's latents in the other source."""

    needs: ClassVar[ColumnNeeds] = ColumnNeeds(
        comparable_pair=True, columns=("norms", "scaling", "twins")
    )

    def compute(self, context: TableContext, table: Mapping[str, Any]) -> Mapping[str, Any]:
        return compute_presence(table, context.diff_pair)


def compute_presence(table: Mapping[str, Any], diff_pair: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the columns `presence/<source>`; NaN for latents without ν (never active)."""
    first, second = diff_pair
    has_cross_latent = 1.0 * (table["max_cross_cosine"] > SAME_DIRECTION)
    columns = {}
    for own, other in ((first, second), (second, first)):
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = table[f"norm/{other}"] / table[f"norm/{own}"]
        trace = table[f"nu/error/{own}"] + SHIFT
        scores = (ratio, SLOPE * trace, -NEGATIVE_SLOPE * trace, has_cross_latent)
        columns[f"presence/{own}"] = np.maximum.reduce(scores)
    return columns
