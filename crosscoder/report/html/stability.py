"""Section of the stability eval."""

from collections.abc import Sequence
from typing import Any

from crosscoder.evals import Result
from crosscoder.report.html.section import Grid, Section
from crosscoder.report.shapes import select_rows
from crosscoder.report.terminal.tables import format_coverage

NOTE = (
    "The same training with other seeds, which vary the {varied}. Latents are matched one to one "
    "by the cosine of their decoders."
)
CLASSES_NOTE = (
    "Means over the live latents of a class. Found again: probability that a crosscoder of another "
    "seed has a latent that points the same way. Each seed: mean cosine with the partners there."
)
UNMATCHED_NOTE = (
    "Latents that are not found again, here and there, and the subspaces that they span. cos²: "
    "mean squared cosine of the principal angles; 1: the same subspace in another basis. Compare "
    "it with random subspaces of as many dimensions, and with as many random live latents of both "
    "crosscoders: only a larger value says that these latents share a region of their own."
)


def build_stability_section(result: Result, diff_pair: Sequence[str]) -> Section:
    """Show how many latents of each class other seeds find again, and what the others span."""
    classes = select_rows(result, "classes", ("class",))
    unmatched = select_rows(result, "unmatched", ("class",))
    grids = [
        Grid("classes", "Found again, by class", classes, CLASSES_NOTE),
        Grid("unmatched", "Not found again", unmatched, UNMATCHED_NOTE),
    ]
    return Section(
        "stability",
        "Stability",
        NOTE.format(varied=_describe_varied(result.meta.get("varied"))),
        format_coverage(result.meta),
        grids=[grid for grid in grids if grid.rows],
    )


def _describe_varied(varied: Any) -> str:
    is_known = isinstance(varied, list) and bool(varied)
    return " and the ".join(map(str, varied)) if is_known else "order of the tokens"
