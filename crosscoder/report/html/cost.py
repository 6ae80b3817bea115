"""Plot of the ablation eval: what each intervention removes against its cost, with labels."""

import itertools
from collections.abc import Sequence

import plotly.graph_objects as go

from crosscoder.evals import Result
from crosscoder.report.html.figures import THRESHOLD
from crosscoder.report.html.intervals import Point, Series, draw_numeric_points
from crosscoder.report.html.labels import Mark, place_labels
from crosscoder.report.html.plots import Plot
from crosscoder.report.shapes import Row, select_rows
from crosscoder.values import is_finite

CAPTION = (
    "What each intervention removes, with 95 % intervals, against its cost: how much less likely "
    "its answers are than the model's own answers to the question asked the other way. Best is the "
    "upper left; gibberish lies to the right."
)
# prefix of the intervention's name, colour, symbol
KINDS = (
    ("ours", "first", "circle"),
    ("random", "undetermined", "square"),
    ("", "accent", "diamond"),
)
REMOVED = ("removed", "low", "high")
RISE = "coherence NLL rise"
MARGIN = 0.08  # of an axis, at both ends
LABEL_STYLE = {
    "font": {"size": 11, "color": "var(--ink)"},
    "bgcolor": "var(--card)",
    "showarrow": True,
    "arrowhead": 0,
    "arrowwidth": 0.7,
    "arrowcolor": "var(--muted)",
    "standoff": 6,
    "borderpad": 1,
}


def build_cost_plots(result: Result) -> list[Plot]:
    """Return the plot; none if no intervention has both values."""
    rows = select_rows(result, "interventions", ("intervention",), ("removed", RISE))
    if not rows:
        return []
    figure = draw_numeric_points(_build_series(rows)).update_layout(showlegend=False)
    figure.add_hline(0, line=THRESHOLD)
    figure.add_hline(1, line=THRESHOLD)
    _add_labels(figure, rows)
    title = "Behaviour removed, and the cost"
    return [Plot("ablation-cost", title, CAPTION, figure, "wide tall")]


def _build_series(rows: Sequence[Row]) -> list[Series]:
    """Build a series for each kind of interventions."""
    points: dict[str, list[Point]] = {prefix: [] for prefix, _, _ in KINDS}
    for row in rows:
        name = row["intervention"]
        prefix = next(prefix for prefix, _, _ in KINDS if name.startswith(prefix))
        points[prefix].append(Point.from_row(row, row[RISE], name, REMOVED))
    return [
        Series(prefix, colour, points[prefix], symbol=symbol) for prefix, colour, symbol in KINDS
    ]


def _add_labels(figure: go.Figure, rows: Sequence[Row]) -> None:
    """Set the ranges of the axes, and put each intervention's name next to its point."""
    ends = [_list_ends(row) for row in rows]
    left, right = _pad_range([row[RISE] for row in rows])
    low, high = _pad_range([0.0, 1.0, *itertools.chain.from_iterable(ends)])
    figure.update_xaxes(title=f"{RISE}, nats per token", range=[left, right])
    figure.update_yaxes(title="removed", range=[low, high])
    marks = []
    for row, row_ends in zip(rows, ends, strict=True):
        mark = Mark(
            x=(row[RISE] - left) / (right - left),
            y=(row["removed"] - low) / (high - low),
            low=(min(row_ends) - low) / (high - low),
            high=(max(row_ends) - low) / (high - low),
            label=row["intervention"],
        )
        marks.append(mark)
    for row, (dx, dy) in zip(rows, place_labels(marks), strict=True):
        text = row["intervention"]
        figure.add_annotation(x=row[RISE], y=row["removed"], ax=dx, ay=dy, text=text, **LABEL_STYLE)


def _list_ends(row: Row) -> list[float]:
    """Return a row's value and the ends of its interval, as far as they are numbers."""
    return [row[name] for name in REMOVED if is_finite(row.get(name))]


def _pad_range(values: Sequence[float]) -> tuple[float, float]:
    """Return a range with room at both ends."""
    low = min(values)
    high = max(values)
    room = MARGIN * (high - low) or 0.5
    return low - room, high + room
