"""Section of the patching eval."""

import re
from collections.abc import Sequence

import plotly.graph_objects as go

from crosscoder.evals import Result
from crosscoder.report.html.figures import THRESHOLD, build_figure
from crosscoder.report.html.intervals import Point, Series, build_error_bars, draw_points
from crosscoder.report.html.plots import Plot
from crosscoder.report.html.section import Grid, Section
from crosscoder.report.shapes import Row, merge_intervals, select_rows
from crosscoder.report.terminal.tables import format_coverage, format_figure, list_columns
from crosscoder.values import is_finite

NOTE = (
    "Into the finetuned model: its activation is rebuilt from the base's activation and the "
    "difference between the two decoders of some latents, and it continues from there. KL to the "
    "unedited finetuned model, on its own answers: the lower, the more of the finetuning those "
    "latents carry. Into the base: the same activation continues in the base model, and closes a "
    "share of its KL to the finetuned model."
)
PATCHES_NOTE = (
    "none: the base's activation; all: with every latent; error: with what no latent explains; "
    "template: the base's activation, but the finetuned model's own on the chat template. A "
    "ranking is good if its top half reduces the KL more than its bottom half or a random ranking "
    "does."
)
BASE_NOTE = (
    "closed: 1 − KL of the patched base / KL of the base. true: the finetuned model's own "
    "activation, the ceiling; all: with every latent; error: with what no latent explains; top: "
    "the latents with the largest difference energy. random: closed by as many random latents, the "
    "floor. A class carries the difference if it closes more than as many random latents do."
)
BASE_CAPTION = (
    "Bars with 95 % intervals over answers. The dotted line is the ceiling: the finetuned model's "
    "own activation. Diamonds are the floor: as many random latents."
)
MEASURE = re.compile(r"KL(?: first (?P<first>\d+))?")
COLOURS = ("accent", "first")
BASE_TABLE = "into base"
CLOSED = ("closed", "closed low", "closed high")
CEILING = "true"
FLOOR = "random"


def build_patching_section(result: Result, diff_pair: Sequence[str]) -> Section:
    """Draw KL by patch of the finetuned model, and what patches of the base close."""
    rows = select_rows(result, "patches", ("patch",))
    measures = [name for name in list_columns(rows) if MEASURE.fullmatch(name)]
    base_rows = select_rows(result, BASE_TABLE, ("patch",))
    grids = [
        Grid("patches", "By patch", _merge(rows, measures), PATCHES_NOTE),
        Grid(BASE_TABLE, "Into the base", _merge(base_rows, ["KL", CLOSED[0]]), BASE_NOTE),
    ]
    return Section(
        "patching",
        "Patching",
        NOTE,
        format_coverage(result.meta),
        [*_plot_patches(rows, measures), *_plot_base(base_rows)],
        [grid for grid in grids if grid.rows],
    )


def _merge(rows: Sequence[Row], measures: Sequence[str]) -> list[Row]:
    """Merge the ends of each measure's interval into one column."""
    return merge_intervals(rows, *[_name_columns(measure) for measure in measures])


def raise_exponents(name: str) -> str:
    """Write a name as plotly draws it, `ν^r` with its r raised."""
    return re.sub(r"\^(\w)", r"<sup>\1</sup>", name)


def _plot_patches(rows: Sequence[Row], measures: Sequence[str]) -> list[Plot]:
    series = []
    for measure, colour in zip(measures, COLOURS, strict=False):
        description = _describe_measure(measure)
        columns = _name_columns(measure)
        points = []
        for place, row in enumerate(rows):
            if is_finite(row.get(measure)):
                label = f"{row['patch']}, {description}"
                points.append(Point.from_row(row, float(place), label, columns))
        series.append(Series(description, colour, points))
    if not any(one.points for one in series):
        return []
    names = [raise_exponents(row["patch"]) for row in rows]
    figure = draw_points(series, names, sideways=True)
    figure.update_xaxes(title="KL, nats per token", rangemode="tozero")
    caption = "With 95 % intervals over answers."
    return [Plot("patching", "KL by patch", caption, figure, "wide tall")]


def _plot_base(rows: Sequence[Row]) -> list[Plot]:
    """Draw the share that each patch of the base closes, with ceiling and floor."""
    drawn = [row for row in rows if is_finite(row.get(CLOSED[0])) and row["patch"] != "none"]
    if not drawn:
        return []
    figure = build_figure(_build_bars(drawn), _build_floor(drawn))
    names = [_count_latents(row) for row in drawn]
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        showgrid=False,
        range=[len(names) - 0.5, -0.5],
    )
    figure.update_xaxes(title="share of KL(finetuned ‖ base) closed", tickformat=".0%")
    figure.update_layout(legend_entrywidth=0)
    for row in drawn:
        if row["patch"] == CEILING:
            figure.add_vline(row[CLOSED[0]], line=THRESHOLD)
    title = "What latents close in the base model"
    return [Plot("patching-base", title, BASE_CAPTION, figure, "wide tall")]


def _build_bars(rows: Sequence[Row]) -> go.Bar:
    points = []
    for place, row in enumerate(rows):
        points.append(Point.from_row(row, float(place), row["patch"], CLOSED))
    series = Series("closed", "accent", points)
    bars = go.Bar(
        x=[point.value for point in points],
        y=[point.place for point in points],
        text=[point.text for point in points],
        orientation="h",
        name="patch",
        hoverinfo="text",
        textposition="none",
        marker={"color": series.css_colour, "opacity": 0.5},
    )
    return bars.update(error_x=build_error_bars(series))


def _build_floor(rows: Sequence[Row]) -> go.Scatter:
    places = [place for place, row in enumerate(rows) if is_finite(row.get(FLOOR))]
    values = [rows[place][FLOOR] for place in places]
    texts = [f"random: {format_figure(value)}" for value in values]
    return go.Scatter(
        x=values,
        y=places,
        text=texts,
        mode="markers",
        name="as many random latents",
        hoverinfo="text",
        marker={"size": 9, "color": "var(--first)", "symbol": "diamond"},
    )


def _count_latents(row: Row) -> str:
    """Write a patch with its number of latents, if it has one."""
    is_counted = is_finite(row.get("latents")) and not row["patch"].startswith("top")
    return f"{row['patch']} ({row['latents']:,})" if is_counted else row["patch"]


def _name_columns(measure: str) -> tuple[str, str, str]:
    return measure, f"{measure} low", f"{measure} high"


def _describe_measure(measure: str) -> str:
    match = MEASURE.fullmatch(measure)
    return f"first {match['first']} tokens" if match and match["first"] else "all tokens"
