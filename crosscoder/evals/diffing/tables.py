"""Tables and scalars of the eval `methods`."""

from collections.abc import Mapping, Sequence

from crosscoder.evals.diffing.comparison import MethodReport
from crosscoder.evals.diffing.evidence import LatentPiece
from crosscoder.evals.diffing.removal import Row
from crosscoder.values import is_finite

# column of the table of methods -> name of the scalar
SCALARS = {
    "pieces": "pieces",
    "found": "found",
    "AUROC": "auroc",
    "chance AUROC": "auroc_chance",
    "chance found": "found_chance",
    "vocabulary": "vocabulary",
    "chance vocabulary": "vocabulary_chance",
    "removed": "removed",
    "control rate": "control_rate",
    "KL plain": "kl_plain",
    "coherence NLL rise": "coherence_nll_rise",
}
MEASURED = ("removed", "control rate", "KL plain", "coherence NLL rise")


def list_methods(reports: Mapping[str, MethodReport]) -> list[Row]:
    """Return a row for each method."""
    return [_make_row(name, report) for name, report in reports.items()]


def _make_row(name: str, report: MethodReport) -> Row:
    kinds = dict.fromkeys(piece.kind for piece in report.pieces)
    row: Row = {
        "method": name,
        "evidence": ", ".join(kinds),
        "pieces": len(report.pieces),
        "uses_labels": report.method.uses_labels,
    }
    if report.trigger is not None:
        row["found"] = report.trigger.found_rank
        row["AUROC"] = report.trigger.best
        row["chance AUROC"] = report.trigger.chance_auroc
        row["chance found"] = report.trigger.chance_found
    row |= report.vocabulary
    for column in MEASURED:
        for measured in report.removal:
            row[f"{column}@{measured['size']}"] = measured[column]
    return row


def list_evidence(reports: Mapping[str, MethodReport]) -> list[Row]:
    """Return a row for each piece of every method."""
    rows = []
    for name, report in reports.items():
        for place, piece in enumerate(report.pieces):
            row: Row = {
                "method": name,
                "rank": place + 1,
                "kind": piece.kind,
                "piece": piece.name,
                "weight": piece.weight,
            }
            if isinstance(piece, LatentPiece) and len(piece.dictionary.sources) > 1:
                row["latent"] = piece.latent  # of the crosscoder, and so of its table
            if report.trigger is not None:
                row["AUROC"] = float(report.trigger.aurocs[place])
            if report.columns:
                row |= report.columns[place]
            rows.append(row)
    return rows


def make_scalars(methods: Sequence[Row]) -> dict[str, float]:
    """Return `found/<method>`, `removed@N/<method>` and so on, as far as they are defined.

    Args:
        methods: The table of methods.
    """
    scalars: dict[str, float] = {}
    for row in methods:
        for column, value in row.items():
            measure, at, size = column.partition("@")
            if measure in SCALARS and is_finite(value):
                scalars[f"{SCALARS[measure]}{at}{size}/{row['method']}"] = value
    return scalars
