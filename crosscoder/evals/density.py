"""Measure how often latents fire, by class.

In L1 crosscoders exclusive latents fire about ten times as often as shared ones and mean little:
the pathology of Mishra-Sharma et al. 2025.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from crosscoder.analysis.table import LatentTable
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.densities import DENSITY_EDGES, count_by_density, label_intervals

NONE_ACTIVE = "no latent is active on these tokens"
NONE_SHARED = "no latent is shared, so there is no density to compare with"
LABELS = (f"< {DENSITY_EDGES[0]:g}", *label_intervals(DENSITY_EDGES), f"> {DENSITY_EDGES[-1]:g}")


@dataclass(frozen=True)
class DensityEval:
    """Densities of the classes of the verdict, and of the norm rule Δ (Minder et al. 2025).

    Scalars: `density/<class>`, the median over a class's latents, and `density_ratio/<class>`, the
    median divided by that of the shared latents.
    """

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        if context.crosscoder.sources.comparable is None:
            raise NotApplicable("density needs two compared sources of equal width")
        table = context.latent_table
        rows = _make_rows(table, "verdict")
        shared = _median_density(table, "verdict", "shared")
        scalars = {}
        for row in rows:
            name = row["class"].replace("-", "_")
            scalars[f"density/{name}"] = row["median"]
            scalars[f"density_ratio/{name}"] = row["median"] / shared
        rows += _make_rows(table, "category/minder2025")
        meta = dict(table.meta)
        if table["dead"].all():
            meta["left_out"] = {"density": NONE_ACTIVE}
        elif np.isnan(shared):
            meta["left_out"] = {"density_ratio": NONE_SHARED}
        return Result("density", scalars, {"classes": rows}, meta)


def _make_rows(table: LatentTable, column: str) -> list[dict[str, Any]]:
    """Return a row for each class in a column."""
    rows = []
    for name in sorted(set(table[column]) - {"dead"}):
        density = _select_density(table, column, name)
        row: dict[str, Any] = {"by": column, "class": name, "latents": len(density)}
        row["median"] = float(np.median(density)) if len(density) else 0.0
        row |= dict(zip(LABELS, count_by_density(density), strict=True))
        rows.append(row)
    return rows


def _select_density(table: LatentTable, column: str, name: str) -> np.ndarray:
    return table["density"][(table[column] == name) & ~table["dead"]]


def _median_density(table: LatentTable, column: str, name: str) -> float:
    density = _select_density(table, column, name)
    return float(np.median(density)) if len(density) else float("nan")
