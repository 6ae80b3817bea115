"""What the page draws of the compare eval: how well each dictionary reconstructs, and what one's latents are to the other."""

from collections.abc import Mapping, Sequence
from typing import Any

from crosscoder.evals import Result
from crosscoder.report.figures import COLOURS
from crosscoder.report.intervals import Point, Series, points
from crosscoder.report.plots import Plot
from crosscoder.report.section import Grid, Section
from crosscoder.report.shapes import Row, finite, rows_of
from crosscoder.report.tables import extent, figure

NOTE = (
    "The crosscoder beside another dictionary on the same tokens. Sparser: its smallest active entries left out until as many "
    "are active as in the other. On each: a dictionary of one model, read on both models one after the other."
)
QUALITY = "Fraction of variance explained, and of the difference between the models, where a dictionary reads both."
KIN = (
    "Medians over live latents. Cosine: of the nearest decoder in the other dictionary. One to one: where each of its latents "
    "may serve once. Correlation and Jaccard: with the latent that fires most alike. R²: of a latent's activity, by the other's "
    "whole code on other tokens."
)
LATENTS = "The latents that write most of the difference, and how far the other dictionary has them."
FVE = ("fve", "fve_standardised")
CLASSES = {"all": "ink", "top difference": "accent"}  # verdicts have colours of their name


def compare(result: Result, contrast: Sequence[str]) -> Section:
    """Quality by dictionary, kinship by class of latents, and some latents."""
    quality, kin = rows_of(result, "dictionaries", ("",)), rows_of(result, "classes", ("median of",))
    latents = rows_of(result, "latents", (), ("latent",))
    dictionaries = [name for name in dict.fromkeys(name for row in quality for name in row) if name]
    fves = {row[""]: [row.get(name) for name in dictionaries] for row in quality if row[""].partition("/")[0] in FVE}
    medians = [row for row in kin if row["median of"] != "latents" and not row["median of"].startswith("share")]
    classes = [name for name in dict.fromkeys(name for row in medians for name in row) if name != "median of"]
    kinship = {name: [row.get(name) for row in medians] for name in classes}
    measures = [row["median of"] for row in medians]

    colours = {f"{name}-specific": colour for name, colour in zip(contrast, ("first", "second"), strict=False)}
    plots = []
    if series := _series(fves, dictionaries, {}):
        made = points(series, dictionaries, sideways=True).update_xaxes(title="FVE")
        plots.append(Plot("compare-quality", "Variance explained", QUALITY, made, "wide"))
    if series := _series(kinship, measures, CLASSES | {name: name for name in COLOURS} | colours):
        made = points(series, measures, sideways=True).update_xaxes(title="median", range=[-0.1, 1.05])
        plots.append(Plot("compare-classes", "What our latents are to it", KIN, made, "wide tall"))
    grids = [Grid("dictionaries", "Dictionaries", quality)] if quality else []
    grids += [Grid("classes", "Latents by class", kin)] if kin else []
    grids += [Grid("latents", "Latents", latents, LATENTS)] if latents else []
    about = f"{NOTE} The reference: {result.meta.get('reference', 'unknown')}."
    return Section("compare", "Compare", about, extent(result.meta), plots, grids)


def _series(values: Mapping[str, list[Any]], names: Sequence[str], colours: Mapping[str, str]) -> list[Series]:
    """A series for each row that has anything to draw; its values belong to the names."""
    series = []
    for number, (label, row) in enumerate(values.items()):
        colour = colours.get(label, COLOURS[number % len(COLOURS)])
        drawn: list[Row] = [{"at": at, "value": value} for at, value in enumerate(row) if finite(value)]
        said = [f"{names[one['at']]}, {label}: {figure(one['value'])}" for one in drawn]
        found = [Point(float(one["at"]), one["value"], said=text) for one, text in zip(drawn, said, strict=True)]
        if found:
            series.append(Series(label, colour, found))
    return series
