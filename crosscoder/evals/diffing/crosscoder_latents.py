"""Latents of the crosscoder that is evaluated, in an order for which no labels are needed.

    energy     E[f_j²] ‖δ_j‖², largest first          analysis/columns/energy.py
    presence   q_j if nulls has calibrated the verdict, else presence_j, smallest first
    delta      Δ_j = ½ (1 + (‖d_j^chat‖ − ‖d_j^base‖) / max(‖d_j^chat‖, ‖d_j^base‖)), largest first
    nu         ν_j^ε, smallest first                  Minder, Dumas et al. 2025

with δ_j = d_j^chat − d_j^base. Latents with the same figure are ordered by their energy. The last
three are ratios, which are noise where a latent is hardly ever active, so latents that are active
on fewer than MIN_ACTIVE tokens are left out. So are latents that write nothing into the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch.nn.functional import normalize

from crosscoder.analysis.table import LatentTable
from crosscoder.errors import NotApplicable
from crosscoder.evals.diffing.evidence import MAX_PIECES, LatentPiece
from crosscoder.evals.diffing.material import Material
from crosscoder.values import require_types

MIN_ACTIVE = 10
Rank = Literal["energy", "presence", "delta", "nu"]
# column of the table, and True if small values come first; {first} is chat
COLUMNS: dict[str, tuple[tuple[str, bool], ...]] = {
    "energy": (("difference_energy", False),),
    "presence": (("q/{first}", True), ("presence/{first}", True)),
    "delta": (("delta_norm", False),),
    "nu": (("nu/error/{first}", True),),
}


@dataclass(frozen=True)
class CrosscoderLatents:
    """The first latents of the crosscoder by one column of its table.

    Args:
        rank: The order: energy, presence, delta or nu.
    """

    rank: Rank = "energy"
    uses_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_types("a method that ranks latents", self)

    def find_evidence(self, material: Material) -> list[LatentPiece]:
        """Return the first latents."""
        crosscoder = material.context.crosscoder
        first, second = material.diff_pair
        table = material.context.latent_table
        column, is_ascending = choose_column(table, self.rank, first)
        deltas = (crosscoder.decoder(first) - crosscoder.decoder(second)).detach()
        values = table[column]
        pieces = []
        for row in order_latents(table, column, is_ascending)[:MAX_PIECES]:
            latent = int(table["latent"][row])
            direction = normalize(deltas[latent].float(), dim=0)
            pieces.append(LatentPiece(latent, float(values[row]), crosscoder, direction))
        return pieces


def choose_column(table: LatentTable, rank: str, first: str) -> tuple[str, bool]:
    """Return the column of an order that the table has, and whether small values come first.

    Raises:
        NotApplicable: The table lacks the column.
    """
    names = []
    for template, is_ascending in COLUMNS[rank]:
        column = template.format(first=first)
        if column in table.columns:
            return column, is_ascending
        names.append(column)
    raise NotApplicable(f"the table of latents has no column {' or '.join(names)}")


def order_latents(table: LatentTable, column: str, is_ascending: bool) -> Sequence[int]:
    """Return the rows of the latents that are used, in the order of a column.

    Args:
        table: The table of latents.
        column: Name of the column.
        is_ascending: Whether small values come first.
    """
    values = np.asarray(table[column], dtype=float)
    energy = np.asarray(table["difference_energy"], dtype=float)
    key = values if is_ascending else -values
    order = np.lexsort((-energy, key))
    is_active = np.asarray(table["n_active"]) >= MIN_ACTIVE
    is_used = is_active & np.isfinite(values) & (energy > 0)
    return order[is_used[order]].tolist()
