"""Section of the compare eval: quality of each dictionary, and how far they share latents."""

from collections.abc import Mapping, Sequence
from typing import Any

from crosscoder.evals import Result
from crosscoder.report.html.figures import COLOURS
from crosscoder.report.html.intervals import Point, Series, draw_points
from crosscoder.report.html.plots import Plot
from crosscoder.report.html.section import PAIR_COLOURS, Grid, Section
from crosscoder.report.shapes import Row, select_rows
from crosscoder.report.terminal.tables import format_coverage, format_figure, list_columns
from crosscoder.values import is_finite

NOTE = (
    "The crosscoder and another dictionary on the same tokens. Sparser: without its smallest "
    "active entries, so that as many are active as in the other one. On each: a dictionary of one "
    "model, applied to one model after the other. The reference: {reference}."
)
QUALITY_NOTE = (
    "Fraction of variance explained; also of the difference between the models, where a dictionary "
    "reads both."
)
CLASSES_NOTE = (
    "Medians over live latents. Cosine: with the nearest decoder of the other dictionary. One to "
    "one: the same if each of its latents may be matched once. Correlation and Jaccard: with the "
    "latent that fires most alike. R²: of a latent's activity, predicted from the other's whole "
    "code on other tokens."
)
LATENTS_NOTE = (
    "The latents that write most of the difference, and how well the other dictionary matches them."
)
FVE_METRICS = ("fve", "fve_standardised")
MEDIAN_OF = "median of"
COLOUR_BY_CLASS = {"all": "ink", "top difference": "accent"}  # verdicts have their own colours


def build_compare_section(result: Result, diff_pair: Sequence[str]) -> Section:
    """Draw quality by dictionary, matches by class of latents, and some latents."""
    quality = select_rows(result, "dictionaries", ("",))
    classes = select_rows(result, "classes", (MEDIAN_OF,))
    latents = select_rows(result, "latents", (), ("latent",))
    grids = [
        Grid("dictionaries", "Dictionaries", quality),
        Grid("classes", "Latents by class", classes),
        Grid("latents", "Latents", latents, LATENTS_NOTE),
    ]
    return Section(
        "compare",
        "Compare",
        NOTE.format(reference=result.meta.get("reference", "unknown")),
        format_coverage(result.meta),
        [*_plot_quality(quality), *_plot_classes(classes, diff_pair)],
        [grid for grid in grids if grid.rows],
    )


def _plot_quality(rows: Sequence[Row]) -> list[Plot]:
    dictionaries = [name for name in list_columns(rows) if name]
    fves = {}
    for row in rows:
        if row[""].partition("/")[0] in FVE_METRICS:
            fves[row[""]] = [row.get(name) for name in dictionaries]
    series = _build_series(fves, dictionaries, {})
    if not series:
        return []
    figure = draw_points(series, dictionaries, sideways=True).update_xaxes(title="FVE")
    return [Plot("compare-quality", "Variance explained", QUALITY_NOTE, figure, "wide")]


def _plot_classes(rows: Sequence[Row], diff_pair: Sequence[str]) -> list[Plot]:
    medians = [row for row in rows if _is_median(row[MEDIAN_OF])]
    measures = [row[MEDIAN_OF] for row in medians]
    classes = [name for name in list_columns(medians) if name != MEDIAN_OF]
    values = {}
    for name in classes:
        values[name] = [row.get(name) for row in medians]
    colours = COLOUR_BY_CLASS | {name: name for name in COLOURS}
    for source, colour in zip(diff_pair, PAIR_COLOURS, strict=False):
        colours[f"{source}-specific"] = colour
    series = _build_series(values, measures, colours)
    if not series:
        return []
    figure = draw_points(series, measures, sideways=True)
    figure.update_xaxes(title="median", range=[-0.1, 1.05])
    title = "Matches of our latents in the other dictionary"
    return [Plot("compare-classes", title, CLASSES_NOTE, figure, "wide tall")]


def _is_median(measure: str) -> bool:
    """Tell whether a row is a median; others count latents or give fractions of them."""
    return measure != "latents" and not measure.startswith("share")


def _build_series(
    values: Mapping[str, list[Any]], names: Sequence[str], colours: Mapping[str, str]
) -> list[Series]:
    """Build a series for each row of values that can be drawn; values belong to `names`."""
    series = []
    for number, (label, row) in enumerate(values.items()):
        points = []
        for place, value in enumerate(row):
            if is_finite(value):
                text = f"{names[place]}, {label}: {format_figure(value)}"
                points.append(Point(float(place), value, text=text))
        if points:
            colour = colours.get(label, COLOURS[number % len(COLOURS)])
            series.append(Series(label, colour, points))
    return series
