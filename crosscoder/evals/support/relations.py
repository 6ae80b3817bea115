"""Relate one dictionary's latents to another's: decoders, activity, and explained activity.

See evals/compare.py.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from crosscoder.analysis.matching.cofiring import Cofiring, stack_codes
from crosscoder.analysis.matching.decoders import find_nearest, match_one_to_one
from crosscoder.analysis.table import LatentTable
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Source
from crosscoder.data import Store
from crosscoder.errors import NotApplicable
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.encoding import read_codes
from crosscoder.evals.support.explained import measure_explained
from crosscoder.values import require_types

MOST_DIFFERENT = "top difference"
# titles of the measures, and their columns
MEASURES = {
    "one to one": "one_to_one",
    "correlation": "correlation",
    "Jaccard": "jaccard",
    "R²": "r2",
    "R² of activations": "r2/activations",
}
# columns that are copied from our LatentTable: new name -> column
COPIED = {
    "verdict": "verdict",
    "dead": "dead",
    "density": "density",
    "difference_share": "difference_share",
    "delta_norm": "delta_norm",
    "decoder_cosine": "cosine",
}
# columns that are saved but not printed
NOT_PRINTED = ("nearest", "partner", "firing_with", "correlation/nearest", "jaccard/nearest")
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class RelationResult:
    """Relations of our latents to a reference's.

    Args:
        scalars: Medians by class.
        tables: Medians by class, and the first latents.
        meta: How the relations were measured.
        files: A table with a row per latent of ours.
    """

    scalars: dict[str, float]
    tables: dict[str, list[dict[str, Any]]]
    meta: dict[str, Any]
    files: dict[str, LatentTable]


@dataclass(frozen=True)
class Relations:
    """Settings of the relations of our latents to a reference's.

    Args:
        n_fit: Number of tokens, of those that ours was trained on, to fit the regression on.
        n_regressors: Number of the reference's latents in the regression, those that correlate most
            with any of ours.
        found: Decoder cosine from which a latent counts as found in the other dictionary.
        n_most: Number of latents that write most of the difference, which are a class of their own.
        top: Number of rows of the table that is printed.
    """

    n_fit: int = 131_072
    n_regressors: int = 4096
    found: float = 0.7
    n_most: int = 64
    top: int = 12

    def __post_init__(self) -> None:
        require_types("relations", self)

    @torch.no_grad()
    def measure(
        self, context: EvalContext, reference: Crosscoder, heldout: Store, table: LatentTable
    ) -> RelationResult:
        """Measure decoders, activity and explained activity, and summarise them by class.

        Args:
            context: Context of the eval, with our crosscoder.
            reference: The other dictionary; at least one of its sources is one of ours.
            heldout: Held-out store with the reference's sources.
            table: LatentTable of our crosscoder.
        """
        columns = compare_decoders(context.crosscoder, reference)
        columns |= compare_activity(context, reference, heldout, columns["nearest"])
        r2, meta = self._explain(context, reference, heldout)
        return self._summarise(context.crosscoder, reference, table, columns, r2, meta)

    def _explain(
        self, context: EvalContext, reference: Crosscoder, heldout: Store
    ) -> tuple[Columns, dict[str, Any]]:
        """Measure R² of our latents; NaN if there are too few tokens."""
        try:
            return measure_explained(context, reference, heldout, self.n_fit, self.n_regressors)
        except NotApplicable as reason:
            unknown = np.full(context.crosscoder.n_latents, np.nan)
            columns = {"r2": unknown, "r2/activations": unknown}
            return columns, {"left_out": {"R²": str(reason)}}

    def _summarise(
        self,
        ours: Crosscoder,
        reference: Crosscoder,
        table: LatentTable,
        columns: Columns,
        r2: Columns,
        meta: dict[str, Any],
    ) -> RelationResult:
        copied = {name: table[column] for name, column in COPIED.items() if column in table.columns}
        latents = LatentTable.from_columns(copied | columns | r2, table.meta)
        by_class = {}
        for name, rows in self._divide_into_classes(latents).items():
            by_class[name] = self._summarise_class(rows)
        home = find_common_source(ours, reference).name
        scalars = _make_scalars(by_class, home)
        medians = []
        for measure in by_class["all"]:
            row = {"median of": measure}
            row |= {name: summary[measure] for name, summary in by_class.items()}
            medians.append(row)
        order = "difference_share" if "difference_share" in copied else "density"
        printed = [
            name
            for name in ("latent", "verdict", order, *columns, *r2)
            if name in latents.columns and name not in NOT_PRINTED
        ]
        first = LatentTable(latents.frame[printed]).top(order, self.top).frame  # type: ignore[arg-type]
        first = first.rename(columns={column: title for title, column in MEASURES.items()})
        tables = {"classes": medians, "latents": first.to_dict("records")}
        return RelationResult(scalars, tables, meta, {"compare.parquet": latents})

    def _divide_into_classes(self, table: LatentTable) -> dict[str, LatentTable]:
        """Divide the live latents by verdict.

        The class of those that only the finetuned model has is there even if it is empty.
        """
        alive = table.query("not dead")
        classes = {"all": alive}
        if "verdict" in table.columns:
            specific = f"{table.meta['contrast'][0]}-specific"
            for name in [specific, *sorted(set(alive["verdict"]) - {specific})]:
                classes[name] = alive.where("verdict", name)
            classes[MOST_DIFFERENT] = alive.top("difference_share", self.n_most)
        return classes

    def _summarise_class(self, rows: LatentTable) -> dict[str, Any]:
        """Return the medians of a class, and fractions above the thresholds."""
        summary: dict[str, Any] = {"latents": len(rows)}
        for column in rows.columns:
            if column.startswith("cosine/"):
                summary[column.replace("/", " ")] = _median(rows[column])
        for title, column in MEASURES.items():
            summary[title] = _median(rows[column])
        is_found = rows["one_to_one"] > self.found
        summary[f"share one to one > {self.found:g}"] = _fraction(is_found)
        summary["share R² > ½"] = _fraction(rows["r2"] > 0.5)
        return summary


def find_common_source(ours: Crosscoder, reference: Crosscoder) -> Source:
    """Return the first source of the reference that is one of ours."""
    return next(source for source in reference.sources if source in ours.sources.items)


def compare_decoders(ours: Crosscoder, reference: Crosscoder) -> Columns:
    """Match decoders by cosine: with the nearest latent of the reference, and one to one."""
    home = find_common_source(ours, reference)
    theirs = reference.decoder(home.name)
    columns: Columns = {}
    for source in ours.sources:
        if source.width != home.width:
            continue
        cosine, nearest = find_nearest(ours.decoder(source.name), theirs)
        columns[f"cosine/{source.name}"] = cosine
        if source == home:
            columns["nearest"] = nearest.copy()
    cosine, partner = match_one_to_one(ours.decoder(home.name), theirs)
    columns["one_to_one"] = cosine
    columns["partner"] = partner
    return columns


def compare_activity(
    context: EvalContext, reference: Crosscoder, heldout: Store, nearest: np.ndarray
) -> Columns:
    """Measure how our latents fire together with the reference's, and with the nearest ones."""
    our_codes = stack_codes(read_codes(context.crosscoder, context.heldout))
    their_codes = stack_codes(read_codes(reference, heldout))
    cofiring = Cofiring.from_codes(our_codes, their_codes)
    correlation, partner = cofiring.find_partners()
    _, jaccard = cofiring.read_pairs(np.maximum(partner, 0))
    correlation_nearest, jaccard_nearest = cofiring.read_pairs(nearest)
    return {
        "correlation": correlation,
        "firing_with": partner,
        "jaccard": jaccard,
        "correlation/nearest": correlation_nearest,
        "jaccard/nearest": jaccard_nearest,
    }


def _make_scalars(by_class: dict[str, dict[str, Any]], home: str) -> dict[str, float]:
    """Return `cosine/`, `one_to_one/` and `explained/<class>` of the classes that have latents."""
    titles = {"cosine": f"cosine {home}", "one_to_one": "one to one", "explained": "R²"}
    scalars = {}
    for key, title in titles.items():
        for name, summary in by_class.items():
            if summary["latents"]:
                suffix = name.replace("-", "_").replace(" ", "_")
                scalars[f"{key}/{suffix}"] = summary[title]
    return scalars


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _fraction(selected: np.ndarray) -> float:
    return float(selected.mean()) if len(selected) else float("nan")
