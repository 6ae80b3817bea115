"""Section of the methods eval: what each method found, and what its first pieces remove."""

from collections.abc import Sequence
from typing import Any

from crosscoder.evals import Result
from crosscoder.report.html.figures import COLOURS, DASHES, THRESHOLD
from crosscoder.report.html.intervals import Point, Series, draw_bands
from crosscoder.report.html.plots import Plot
from crosscoder.report.html.section import PAIR_COLOURS, Grid, Section
from crosscoder.report.shapes import Row, select_rows
from crosscoder.report.terminal.tables import format_coverage, format_figure

FOUND = 0.9  # AUROC from which a piece counts as found (evals/diffing/trigger.py)
NOTE = (
    "What does each method say about the finetuning? All get the same held-out tokens and return "
    "at most 20 pieces of evidence, the best one first. Methods that use labels were told on other "
    "prompts which ones elicit the behaviour; all others were told nothing."
)
METHODS_NOTE = (
    f"found: rank of the first piece whose largest value on a prompt tells the {{0}} prompts from "
    f"the {{1}} ones with an AUROC above {FOUND:g}; – if there is none. AUROC: of the best piece. "
    "chance: the same with shuffled labels. vocabulary: largest share of planted words among 20 "
    "tokens that a piece names. removed@N: share of the behaviour that is gone without the first N "
    "pieces; KL plain@N: nats per token on held-out documents."
)
REMOVAL_NOTE = (
    "Rates are of answers that show the behaviour. size: pieces that were to be removed; pieces: "
    "those that the method had. The random pieces are the floor."
)
EVIDENCE_NOTE = "AUROC: of this piece alone. The lens columns are the tokens that it promotes."
RANKS_CAPTION = (
    "AUROC of the best piece up to each rank. A method found the behaviour where its line is above "
    "the dotted line."
)
REMOVED_CAPTION = (
    "Share of the behaviour that is removed with the first pieces, against the KL that this causes "
    "on plain text. The points of a line are the numbers of pieces. Best is the upper left."
)
LINE_COLOURS = (*PAIR_COLOURS, *COLOURS)


def build_methods_section(result: Result, diff_pair: Sequence[str]) -> Section:
    """Draw the AUROC by rank and the removal by cost, and list methods, removals and pieces."""
    methods = select_rows(result, "methods", ("method",))
    removal = select_rows(result, "removal", ("method",))
    evidence = select_rows(result, "evidence", ("method",), ("rank",))
    grids = [
        Grid("methods", "Methods", methods, METHODS_NOTE.format(*_read_groups(result))),
        Grid("removal", "Removal", removal, REMOVAL_NOTE),
        Grid("evidence", "Evidence", evidence, EVIDENCE_NOTE),
    ]
    return Section(
        "methods",
        "Methods",
        NOTE,
        format_coverage(result.meta),
        [*_plot_ranks(result), *_plot_removal(result)],
        [grid for grid in grids if grid.rows],
    )


def _read_groups(result: Result) -> tuple[str, str]:
    """Return the names of the framing and of the control."""
    groups: Any = result.meta.get("groups")
    if isinstance(groups, list) and len(groups) == 2:
        return str(groups[0]), str(groups[1])
    return "eliciting", "control"


def _plot_ranks(result: Result) -> list[Plot]:
    rows = select_rows(result, "evidence", ("method",), ("rank", "AUROC"))
    points: dict[str, list[Point]] = {}
    best: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: row["rank"]):
        name = row["method"]
        best[name] = max(best.get(name, 0.0), row["AUROC"])
        label = f"{name}, first {format_figure(row['rank'])}"
        point = Point(row["rank"], best[name], text=f"{label}: {format_figure(best[name])}")
        points.setdefault(name, []).append(point)
    if not points:
        return []
    figure = draw_bands(_make_series(points))
    figure.add_hline(FOUND, line=THRESHOLD)
    figure.update_xaxes(title="rank")
    figure.update_yaxes(title="AUROC, best so far", range=[0.0, 1.03])
    return [Plot("methods-ranks", "Found by rank", RANKS_CAPTION, figure, "wide tall")]


def _plot_removal(result: Result) -> list[Plot]:
    rows = select_rows(result, "removal", ("method",), ("size", "removed", "KL plain"))
    points: dict[str, list[Point]] = {}
    for row in rows:
        text = _describe_removal(row)
        point = Point(row["KL plain"], row["removed"], text=text)
        points.setdefault(row["method"], []).append(point)
    if not points:
        return []
    figure = draw_bands(_make_series(points))
    figure.add_hline(0, line=THRESHOLD)
    figure.add_hline(1, line=THRESHOLD)
    figure.update_xaxes(title="KL on plain text, nats per token", rangemode="tozero")
    figure.update_yaxes(title="removed")
    title = "Behaviour removed, and the cost"
    return [Plot("methods-removal", title, REMOVED_CAPTION, figure, "wide tall")]


def _describe_removal(row: Row) -> str:
    removed = format_figure(row["removed"])
    return f"{row['method']}, {format_figure(row['size'])} pieces: {removed} removed"


def _make_series(points: dict[str, list[Point]]) -> list[Series]:
    """Give every method a colour, and another dash where the colours begin anew."""
    series = []
    for number, (name, own) in enumerate(points.items()):
        turn, place = divmod(number, len(LINE_COLOURS))
        dash = DASHES[turn % len(DASHES)]
        series.append(Series(name, LINE_COLOURS[place], own, dash=dash))
    return series
