"""How often latents fire, by class. In L1 crosscoders exclusive latents fire about ten times as often as shared ones, and
mean little: the pathology of Mishra-Sharma et al. 2025.
"""

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from crosscoder.diff.analysis import Analysis
from crosscoder.diff.table import LatentTable
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result, Subject

EDGES = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class DensityEval:
    """Scalars `density/<class>`, the median over a class's latents, and `density_ratio/<class>` against the shared ones.

    Classes are the verdict's and those of the norm rule Δ (Minder et al. 2025).

    Args:
        analysis: as in the diff eval.
    """

    analysis: Analysis

    def __call__(self, subject: Subject) -> Result:
        start = time.perf_counter()
        if subject.crosscoder.sources.comparable is None:
            raise NotApplicable("density by class needs a contrast of two sources of equal width")
        table = self.analysis(subject.crosscoder, subject.heldout)
        rows, scalars = [], {}
        for column in ("verdict", "category/minder2025"):
            shared = _median(table, column, "shared")
            for name in sorted(set(table[column]) - {"dead"}):
                rows.append({"by": column, "class": name, **_row(table, column, name)})
                if column == "verdict":
                    key = name.replace("-", "_")
                    scalars |= {
                        f"density/{key}": rows[-1]["median"],
                        f"density_ratio/{key}": rows[-1]["median"] / shared,
                    }
        meta = table.meta | {"seconds": time.perf_counter() - start}
        return Result("density", scalars, {"classes": rows}, meta)


def _row(table: LatentTable, column: str, name: str) -> dict[str, Any]:
    density = table["density"][(table[column] == name) & ~table["dead"]]
    bins = np.searchsorted(EDGES, density)
    labels = [
        f"< {EDGES[0]:g}",
        *(f"{low:g} – {high:g}" for low, high in pairwise(EDGES)),
        f"> {EDGES[-1]:g}",
    ]
    counts = {label: int((bins == i).sum()) for i, label in enumerate(labels)}
    return {"latents": len(density), "median": float(np.median(density)) if len(density) else 0.0, **counts}


def _median(table: LatentTable, column: str, name: str) -> float:
    density = table["density"][(table[column] == name) & ~table["dead"]]
    return float(np.median(density)) if len(density) else float("nan")
