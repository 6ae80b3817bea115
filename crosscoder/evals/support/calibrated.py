"""Calibrate the verdict with the planted control, and compare the scores that it could rest on.

Each score is calibrated by itself: its decoys, its q-values, and what it then calls. Small values
speak for an exclusive latent.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from crosscoder.analysis.calibration import (
    Calibration,
    collect_scores,
    compute_q_columns,
    read_leaning,
)
from crosscoder.analysis.rule import VerdictRule
from crosscoder.analysis.table import LatentTable
from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals.support.exclusive import Calls, count_calls, exclusive_rate
from crosscoder.evals.support.planted_latents import PlantedLatents

COLUMNS = ("verdict", "n_active", "dead", "cosine", "max_cross_cosine", "presence")
Score = Callable[[LatentTable], np.ndarray]


def fit_calibration(
    table: LatentTable, latents: PlantedLatents, meta: Mapping[str, Any]
) -> Calibration:
    """Calibrate by a crosscoder that was trained on planted features.

    Args:
        table: Its table.
        latents: Its latents by the planted feature that they write.
        meta: What the features were planted into.

    Raises:
        NotApplicable: No latent found an exclusive feature, or the table lacks columns.
    """
    names = {column.partition("/")[0] for column in table.columns}
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise NotApplicable(
            f"the calibration needs the columns {', '.join(missing)}, which this table does not "
            "have: see column=[…]"
        )
    try:
        return Calibration.fit(table, latents.list_fitted(), latents.list_decoys(), meta)
    except UserError as error:
        raise NotApplicable(str(error)) from error


def list_scores(calibration: Calibration) -> dict[str, Score]:
    """Return the scores by name; the calibration's own is the last one.

    R and Δ are functions of the ratio of norms, so that they order latents as the ratio does.
    """
    return {
        "ratio of norms (Δ, R)": lambda table: read_leaning(table)["ratio"],
        "ν^ε": lambda table: read_leaning(table)["trace"],
        "ν^r": partial(_read_own, metric="nu/reconstruction"),
        "presence": partial(_read_own, metric="presence"),
        "calibrated": calibration.score,
    }


def _read_own(table: LatentTable, metric: str) -> np.ndarray:
    """Return a metric in the source that each latent leans to; infinite if it has no value."""
    first, second = table.meta["contrast"]
    is_first = read_leaning(table)["is_first"]
    values = np.where(is_first, table[f"{metric}/{first}"], table[f"{metric}/{second}"])
    return np.nan_to_num(values, nan=np.inf)


def compare_scores(
    calibration: Calibration,
    rule: VerdictRule,
    tables: Mapping[str, LatentTable],
    latents: PlantedLatents,
) -> list[dict[str, Any]]:
    """Return a row per score: what it calls at the rule's false-discovery rate.

    Args:
        calibration: The calibration.
        rule: Its `fdr` is the rate.
        tables: Tables by name: `this pair`, `planted`, and those of other controls.
        latents: Latents of the planted control.
    """
    rows = []
    for name, score in list_scores(calibration).items():
        planted = tables["planted"]
        decoys = collect_scores(planted, score(planted), latents.list_decoys())
        row: dict[str, Any] = {"score": name}
        for control, table in tables.items():
            q = compute_q_columns(table, score(table), decoys, rule.n_active)
            calls = _call_by_q(table, q, rule.fdr)
            if control == "planted":
                row |= latents.measure_rates(calls)
            elif control == "this pair":
                row["called"] = count_calls(calls)
            else:
                row[control] = exclusive_rate(calls, table)
        rows.append(row)
    return rows


def _call_by_q(table: LatentTable, q: Mapping[str, np.ndarray], fdr: float) -> Calls:
    return {source: q[f"q/{source}"] <= fdr for source in table.meta["contrast"]}
