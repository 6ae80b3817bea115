"""Choose the latents that the page shows first.

If the verdict is calibrated, they are the specific latents with the smallest q-values. Otherwise,
or if there are none, they are those that write most of the difference; those whose ablation removes
the behaviour come first.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crosscoder.analysis.calibration import read_fdr
from crosscoder.analysis.table import LatentTable
from crosscoder.evals import Result
from crosscoder.report.shapes import select_rows
from crosscoder.values import is_finite, is_whole

N_CANDIDATES = 6
DENSE = 0.5  # density from which a latent writes much the same vector everywhere
DENSE_SHARE = 0.01  # of the difference; dense latents that write less are not worth a word
ARTEFACTS = ("shrunk", "decoupled", "dead")
SHARE = "difference_share"


@dataclass(frozen=True)
class AblatedSet:
    """Latents that were ablated together, and what this removed of the behaviour.

    Args:
        latents: The latents, in the order in which they are ablated.
        removed: Fraction of the behaviour that their ablation removes.
        low: Lower end of its 95 % interval; `removed` if there is no interval.
        random: The same fraction for as many random latents; NaN if it was not measured.
    """

    latents: tuple[int, ...]
    removed: float
    low: float
    random: float

    @property
    def is_effective(self) -> bool:
        """Tell whether the ablation removes more than that of random latents."""
        random = 0.0 if math.isnan(self.random) else self.random
        return self.low > random


def read_ablated_set(result: Result | None) -> AblatedSet | None:
    """Read the largest set of latents that the ablation eval ablated; None if there is none."""
    if result is None:
        return None
    sizes = []
    for key, value in result.scalars.items():
        name, _, size = key.partition("@")
        if name == "removed" and size.isdigit() and is_finite(value):
            sizes.append(int(size))
    if not sizes:
        return None
    size = max(sizes)
    removed = float(result.scalars[f"removed@{size}"])
    lows = [
        row["low"]
        for row in select_rows(result, "interventions", ("intervention",), ("low",))
        if row["intervention"] == f"ours@{size}"
    ]
    random = result.scalars.get(f"removed_random@{size}", float("nan"))
    latents = [row["latent"] for row in select_rows(result, "latents", (), ("latent",))]
    return AblatedSet(
        tuple(latent for latent in latents[:size] if is_whole(latent)),
        removed,
        float(lows[0]) if lows else removed,
        random if is_finite(random) else float("nan"),
    )


def select_dense(table: LatentTable) -> np.ndarray:
    """Select the dense latents that form the mean difference, [rows]."""
    if not {"density", SHARE} <= set(table.columns):
        return np.zeros(len(table), dtype=bool)
    return (table["density"] >= DENSE) & (table[SHARE] >= DENSE_SHARE)


def select_specific(table: LatentTable, diff_pair: Sequence[str]) -> np.ndarray:
    """Select the latents whose verdict is specific to one of the compared sources, [rows]."""
    if "verdict" not in table.columns:
        return np.zeros(len(table), dtype=bool)
    return np.isin(table["verdict"], [f"{source}-specific" for source in diff_pair])


def choose_candidates(
    table: LatentTable, diff_pair: Sequence[str], results: Mapping[str, Result]
) -> list[int]:
    """Return the latents that the page shows first, the best one first.

    Args:
        table: The table of latents.
        diff_pair: The two compared sources.
        results: Results of the evals by name.
    """
    if not diff_pair or SHARE not in table.columns:
        return []
    is_shown = ~select_dense(table) & (table[SHARE] > 0)
    is_called = is_shown & select_specific(table, diff_pair)
    if read_fdr(table.meta) is not None and is_called.any():
        ordered = _order_by_q(table.frame.loc[is_called], diff_pair)
    else:
        if "verdict" in table.columns:
            is_shown &= ~np.isin(table["verdict"], ARTEFACTS)
        ordered = _order_by_difference(table.frame.loc[is_shown], results.get("ablation"))
    return [int(latent) for latent in ordered["latent"].head(N_CANDIDATES)]


def find_q(frame: pd.DataFrame, diff_pair: Sequence[str]) -> pd.Series | None:
    """Return each latent's smaller q-value of the two sources; None if there are no q-values."""
    columns = [f"q/{source}" for source in diff_pair if f"q/{source}" in frame]
    return frame[columns].min(axis=1) if columns else None


def _order_by_q(frame: pd.DataFrame, diff_pair: Sequence[str]) -> pd.DataFrame:
    q = find_q(frame, diff_pair)
    if q is None:
        return frame.sort_values(SHARE, ascending=False, kind="stable")
    keyed = frame.assign(**{"smallest q": q})
    return keyed.sort_values(["smallest q", SHARE], ascending=[True, False], kind="stable")


def _order_by_difference(frame: pd.DataFrame, ablation: Result | None) -> pd.DataFrame:
    """Sort by what a latent writes of the difference, latents of an effective ablation first."""
    ablated = read_ablated_set(ablation)
    effective = ablated.latents if ablated and ablated.is_effective else ()
    keyed = frame.assign(**{"is effective": frame["latent"].isin(effective)})
    return keyed.sort_values(["is effective", SHARE], ascending=False, kind="stable")
