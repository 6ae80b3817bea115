"""Calibration of the verdict: which latents are exclusive to a source, at a false-discovery rate.

Features are planted into the pair's own activations (data/synthetic/plants.py), and a crosscoder is
trained on them. Some are *exclusive* to one source; the others are *decoys*, which both sources
have. A rule that calls the latent of a decoy exclusive is wrong, and how often it does so is the
error rate of the rule on these activations.

**Score.** Small values speak for an exclusive latent. For a latent that leans to a source,

    score_j = max over ingredients i of  x_ij / q_i

    ratio   ‖d_j^other‖ / ‖d_j^own‖
    trace   (ν_j^ε − m)⁺, the trace of its direction in the other source's error
            (columns/scaling.py)
    write   (w_j − m')⁺ with w_j = ⟨d_j^other, d_j^own⟩ / ‖d_j^own‖²: how much of its own direction
            it writes into the other source
    cross   (c_j − m'')⁺ with c_j the largest cosine with another latent's decoder in the other
            source (columns/twins.py)

m, m' and m'' are the medians over planted exclusive features. The first two are slightly below
zero: an encoder reads the difference of the sources, so a latent is active a little more often
where the other source happens to point away. The scale q_i is twice the median, over the same
features, of the ratio and of the other ingredients' distance from their median. So nothing is tuned
by hand, and a few latents that write mixtures do not matter.

**q-values** by target–decoy competition, Elias & Gygi 2007, Nature Methods 4:207. Targets are the
latents that lean to a source (r < ½), and decoys those of the planted crosscoder that lean and
write a decoy. For decoys of one kind and a threshold t,

    FDR(t) = n₀ · #{decoys ≤ t} / #{decoys} / #{targets ≤ t}
    n₀ = (#{targets > λ} + 1) / (#{decoys > λ} / #{decoys}),     at most #{targets}
    q_j = min over t ≥ score_j of max over kinds of FDR(t)

n₀ estimates how many targets are no exclusive latents, as in Storey, Taylor & Siegmund 2004 (J. R.
Stat. Soc. B 66:187) with λ the median of the decoys: exclusive latents are rare above it. The worst
kind decides, since it is not known of which kind a latent is. All decoys together are one more
kind; for them the rate is (#{decoys ≤ t} + ½) / (#{decoys} + 1), the mean of a posterior under
Jeffreys' prior, so that the estimate is not zero where no decoy was seen. A kind of which fewer
than ten latents lean is judged together with the others only. With fewer than ten decoys in all,
nothing is called.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from crosscoder.analysis.rule import VerdictRule
from crosscoder.analysis.table import LatentTable
from crosscoder.errors import UserError
from crosscoder.io.run_dir import write_json
from crosscoder.io.schema import Number, Object, read_json

FILE = "calibration.json"
PUBLISHED_VERDICT = "verdict/published"
LEANING = 0.5  # largest ratio of norms of a latent that leans to a source
MIN_DECOYS = 10  # latents from which decoys are judged
SMALLEST_SCALE = 1e-3
INGREDIENTS = ("ratio", "trace", "write", "cross")
CENTRED = ("trace", "write", "cross")  # ingredients that are measured from a median


class CalibrationContent(TypedDict):
    """Content of `calibration.json`."""

    centres: dict[str, Number]
    scales: dict[str, Number]
    decoys: dict[str, list[Number]]
    meta: Object


@dataclass(frozen=True)
class Calibration:
    """Scales of the score, and the scores of decoys; see the formulas above.

    Args:
        centres: Medians of `trace`, `write` and `cross` over planted exclusive features.
        scales: q_i by the name of the ingredient.
        decoys: Scores of leaning latents that write a decoy, by kind of decoy.
        meta: What the features were planted into.
    """

    centres: Mapping[str, float]
    scales: Mapping[str, float]
    decoys: Mapping[str, tuple[float, ...]]
    meta: Mapping[str, Any]

    @classmethod
    def fit(
        cls,
        table: LatentTable,
        exclusive: np.ndarray,
        decoys: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
    ) -> "Calibration":
        """Fit the scales to planted exclusive features, and score the decoys.

        Args:
            table: Table of the crosscoder that was trained on the planted features.
            exclusive: Rows of latents that write exclusive features; the scales are fitted to them.
            decoys: Rows of latents that write a decoy, by kind.
            meta: What the features were planted into.

        Raises:
            UserError: No latent that leans to a source writes an exclusive feature.
        """
        exclusive = exclusive[select_leaning(table)[exclusive]]
        if not len(exclusive):
            raise UserError(
                "no latent that leans to a source writes a planted exclusive feature, so that "
                "there is nothing to calibrate by"
            )
        leaning = read_leaning(table)
        centres = {name: float(np.median(leaning[name][exclusive])) for name in CENTRED}
        deviations = measure_deviations(table, centres)
        scales = {}
        for name, deviation in deviations.items():
            median = float(np.median(np.abs(deviation[exclusive])))
            scales[name] = max(2 * median, SMALLEST_SCALE)
        fitted = cls(centres, scales, {}, dict(meta))
        return replace(fitted, decoys=collect_scores(table, fitted.score(table), decoys))

    def score(self, table: LatentTable) -> np.ndarray:
        """Return the score of every latent, [rows]; NaN for one that is never active."""
        deviations = measure_deviations(table, self.centres)
        scaled = [deviations[name] / self.scales[name] for name in INGREDIENTS]
        return np.maximum.reduce(scaled)  # the ratio is positive, so the maximum is

    def compute_q(self, table: LatentTable, min_active: int) -> dict[str, np.ndarray]:
        """Return the columns `q/<source>` of the two compared sources.

        A latent that does not lean to the source has q = 1.

        Args:
            table: Table with norms, scaling and twins.
            min_active: Number of tokens on which a latent must be active.
        """
        return compute_q_columns(table, self.score(table), self.decoys, min_active)

    def apply(self, table: LatentTable, rule: VerdictRule) -> LatentTable:
        """Return the table with q-values and the calibrated verdict.

        A latent is specific to a source if its q-value is at most `rule.fdr`. One that only the
        published thresholds call specific becomes undetermined. Their verdict is kept as
        `verdict/published`.
        """
        is_calibrated = PUBLISHED_VERDICT in table.columns
        published = table[PUBLISHED_VERDICT if is_calibrated else "verdict"].astype(object)
        q = self.compute_q(table, rule.n_active)
        verdict = published.copy()
        for source in table.meta["contrast"]:
            verdict[verdict == f"{source}-specific"] = "undetermined"
        for source in table.meta["contrast"]:
            verdict[q[f"q/{source}"] <= rule.fdr] = f"{source}-specific"
        calibrated = table.with_columns({"verdict": verdict, PUBLISHED_VERDICT: published}, q)
        calibration = {"fdr": rule.fdr, **self.meta}
        return replace(calibrated, meta=table.meta | {"calibration": calibration})

    # --- the file ---

    def save(self, folder: str | Path) -> Path:
        """Write `calibration.json` into a folder, whole or not at all."""
        path = Path(folder) / FILE
        write_json(path, asdict(self))
        return path

    @classmethod
    def load(cls, folder: str | Path) -> "Calibration":
        """Read `calibration.json` of a run folder.

        Raises:
            UserError: The file is missing or holds something else.
        """
        path = Path(folder) / FILE
        content = read_json(path, CalibrationContent)
        if set(content["scales"]) != set(INGREDIENTS) or min(content["scales"].values()) <= 0:
            raise UserError(
                f"{path}: expected as scales a positive number for each of {', '.join(INGREDIENTS)}"
            )
        if set(content["centres"]) != set(CENTRED):
            raise UserError(f"{path}: expected as centres trace, write and cross")
        decoys = {kind: tuple(scores) for kind, scores in content["decoys"].items()}
        return cls(content["centres"], content["scales"], decoys, content["meta"])


def read_fdr(meta: Mapping[str, Any]) -> float | None:
    """Return the false-discovery rate of a calibrated verdict; None if it is not calibrated.

    Args:
        meta: Metadata of a table of latents; it may come from anywhere.
    """
    calibration = meta.get("calibration")
    fdr = calibration.get("fdr") if isinstance(calibration, Mapping) else None
    return float(fdr) if isinstance(fdr, int | float) else None


def read_leaning(table: LatentTable) -> dict[str, np.ndarray]:
    """Return for each latent its values in the source that it leans to, [rows] each.

    Returns:
        `is_first`: True if its decoder is larger in the first source; `ratio`: its norm in the
        other source divided by that in its own; `trace`: ν^ε of its own direction; `write`: how
        much of this direction it writes into the other source; `cross`: its `max_cross_cosine`.
    """
    first, second = table.meta["contrast"]
    first_norm = table[f"norm/{first}"]
    second_norm = table[f"norm/{second}"]
    is_first = first_norm >= second_norm
    larger = np.maximum(first_norm, second_norm)
    smaller = np.minimum(first_norm, second_norm)
    ratio = np.divide(smaller, larger, out=np.ones_like(larger), where=larger > 0)
    trace = np.where(is_first, table[f"nu/error/{first}"], table[f"nu/error/{second}"])
    return {
        "is_first": is_first,
        "ratio": ratio,
        "trace": trace,
        "write": ratio * table["cosine"],
        # a latent that hardly leans has no value
        "cross": np.nan_to_num(table["max_cross_cosine"], nan=1.0),
    }


def select_leaning(table: LatentTable) -> np.ndarray:
    """Select the live latents that lean to a source and have a score, [rows]."""
    leaning = read_leaning(table)
    return (leaning["ratio"] < LEANING) & ~table["dead"] & np.isfinite(leaning["trace"])


def measure_deviations(table: LatentTable, centres: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Return the ingredients of the score of every latent, [rows] each, with their signs.

    Args:
        table: Table with norms, scaling and twins.
        centres: Medians of the other ingredients than the ratio.
    """
    leaning = read_leaning(table)
    deviations = {"ratio": leaning["ratio"]}
    for name in CENTRED:
        deviations[name] = leaning[name] - centres[name]
    return deviations


def collect_scores(
    table: LatentTable, scores: np.ndarray, rows_by_kind: Mapping[str, np.ndarray]
) -> dict[str, tuple[float, ...]]:
    """Return the scores of those latents of each kind that lean to a source, in rising order."""
    is_leaning = select_leaning(table)
    collected = {}
    for kind, rows in rows_by_kind.items():
        leaning = rows[is_leaning[rows]]
        collected[kind] = tuple(float(score) for score in np.sort(scores[leaning]))
    return collected


def compute_q_columns(
    table: LatentTable,
    scores: np.ndarray,
    decoys: Mapping[str, Sequence[float]],
    min_active: int,
) -> dict[str, np.ndarray]:
    """Return the columns `q/<source>` of the two compared sources, by any score.

    Args:
        table: Table with norms, activity and scaling.
        scores: Score of every latent, small for exclusive ones.
        decoys: Scores of decoys by kind.
        min_active: Number of tokens on which a latent must be active.
    """
    is_target = select_leaning(table) & (table["n_active"] >= min_active)
    is_first = read_leaning(table)["is_first"]
    columns = {}
    for source, is_own in zip(table.meta["contrast"], (is_first, ~is_first), strict=True):
        rows = np.flatnonzero(is_target & is_own)
        q = np.ones(len(table))
        q[rows] = compute_q_values(scores[rows], decoys)
        columns[f"q/{source}"] = q
    return columns


def compute_q_values(scores: np.ndarray, decoys: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Return the q-value of each target; see the formulas above.

    Args:
        scores: Scores of the targets, small for exclusive ones.
        decoys: Scores of the decoys by kind.
    """
    kinds = [np.sort(np.asarray(values, dtype=float)) for values in decoys.values()]
    together = np.sort(np.concatenate([np.empty(0), *kinds]))
    if len(together) < MIN_DECOYS:
        return np.ones(len(scores))
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    n_called = np.searchsorted(ranked, ranked, side="right")
    worst = np.zeros(len(scores))
    populations = [(together, 0.5)]
    populations += [(kind, 0.0) for kind in kinds if len(kind) >= MIN_DECOYS]
    for population, added in populations:
        n_passing = np.searchsorted(population, ranked, side="right")
        rate = (n_passing + added) / (len(population) + 2 * added)
        worst = np.maximum(worst, estimate_nulls(scores, population) * rate / n_called)
    smallest = np.minimum.accumulate(worst[::-1])[::-1]
    q = np.empty(len(scores))
    q[order] = np.minimum(smallest, 1)
    return q


def estimate_nulls(scores: np.ndarray, decoys: np.ndarray) -> float:
    """Estimate how many targets are not exclusive, n₀.

    Args:
        scores: Scores of the targets.
        decoys: Scores of decoys of one kind.
    """
    median = np.median(decoys)
    n_above = int((decoys > median).sum())
    if not n_above:
        return float(len(scores))
    estimate = ((scores > median).sum() + 1) * len(decoys) / n_above
    return float(min(len(scores), estimate))
