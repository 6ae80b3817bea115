"""Section of the ablation eval."""

import itertools
import math
from collections.abc import Sequence

from crosscoder.evals import Result
from crosscoder.report.html.answers import read_answers
from crosscoder.report.html.chosen import build_chosen_grids
from crosscoder.report.html.cost import REMOVED, build_cost_plots
from crosscoder.report.html.intervals import Point, Series, draw_bands
from crosscoder.report.html.plots import Plot
from crosscoder.report.html.section import Grid, Section
from crosscoder.report.shapes import Row, merge_intervals, select_rows
from crosscoder.report.terminal.tables import format_coverage, format_figure

NOTE = (
    "Latents are chosen on some questions and removed from both models' activations while the "
    "finetuned model answers other questions, with other topics and wordings. Good is a behaviour "
    "that disappears (removed near 1) while everything else stays the same (rises and KL near 0)."
)
SWEEP_NOTE = (
    "How far the edited model leans towards the behaviour, by the number of ablated latents and "
    "their ranking. Lower is better, down to the dashed line: the unedited model when it is asked "
    "the other way. Bands are 95 % intervals."
)
INTERVENTIONS_NOTE = (
    "removed: (clean − edited) / (clean − base) of the rates; 1 = as rare as in the base, "
    "0 = unchanged. NLL rises: nats per token, of the edited answers under the unedited model "
    "asked the other way (coherence), and of its own answers to that under the edited model. KL "
    "plain: nats per token on held-out documents. Lower is better for all but removed."
)
MARGINS_NOTE = (
    "Fraction of the answers by which our latents remove more of the behaviour than a baseline, "
    "question by question. Above 0 is better."
)
LATENTS_NOTE = "In the order in which they are ablated."
SOLO_MEANINGS = {
    "cosine": "cosine between a token's code from one model alone and its code from both",
    "kl": "nats per token between answers edited with one and with the other code",
    "removed": "of the behaviour removed when one model alone is read",
}
ANSWERS_NOTE = (
    "The question is asked as {0}. First the answers of both unedited models, then those of the "
    "finetuned model under each intervention; next to them, labelled {1}, its answer to the same "
    "question asked as {1}: a good intervention comes close to that answer."
)
COLOUR_BY_RANKING = {
    "candidates": "first",
    "changed by framing": "rewritten",
    "decoder norm": "accent",
    "random": "undetermined",
}
OTHER_COLOURS = ("shrunk", "decoupled", "shared")
SWEEP_COLUMNS = ("contrast", "low", "high")


def build_ablation_section(result: Result, diff_pair: Sequence[str]) -> Section:
    """Draw the sweep, the cost of every intervention, the ablated latents, and the answers."""
    return Section(
        "ablation",
        "Ablation",
        NOTE,
        format_coverage(result.meta),
        [*_plot_sweep(result), *build_cost_plots(result)],
        _build_grids(result),
        _build_solo_figures(result),
        read_answers(result),
        _build_answers_note(result),
    )


def place_on_axis(n: float) -> float:
    """Return the place of `n` latents: each doubling is one step, and 0 one step before 1."""
    return 1 + math.log2(n) if n >= 1 else 0.0


def _build_grids(result: Result) -> list[Grid]:
    interventions = select_rows(result, "interventions", ("intervention",))
    margins = select_rows(result, "margins", ("ours",))
    grids = [
        Grid(
            "interventions",
            "Interventions",
            merge_intervals(interventions, REMOVED),
            INTERVENTIONS_NOTE,
            marked="ours@",
        ),
        Grid(
            "margins",
            "Margins",
            merge_intervals(margins, ("margin", "low", "high")),
            MARGINS_NOTE,
        ),
        *build_chosen_grids(result, "Ablated latents", LATENTS_NOTE),
    ]
    return [grid for grid in grids if grid.rows]


def _build_solo_figures(result: Result) -> list[tuple[str, str]]:
    figures = []
    for key, meaning in SOLO_MEANINGS.items():
        if f"solo/{key}" in result.scalars:
            figures.append((format_figure(result.scalars[f"solo/{key}"]), meaning))
    return figures


def _build_answers_note(result: Result) -> str:
    groups = result.meta.get("groups")
    if not isinstance(groups, list) or len(groups) != 2:
        return ""
    return ANSWERS_NOTE.format(*groups)


def _plot_sweep(result: Result) -> list[Plot]:
    rows = select_rows(result, "sweep", ("ranking",), ("latents", SWEEP_COLUMNS[0]))
    end = max((place_on_axis(row["latents"]) for row in rows), default=0.0)
    if not end:
        return []
    sizes = sorted({row["latents"] for row in rows})
    figure = draw_bands(_build_sweep_series(rows, end))
    figure.update_xaxes(
        title="latents ablated",
        tickvals=[place_on_axis(n) for n in sizes],
        ticktext=[format_figure(n) for n in sizes],
    )
    figure.update_yaxes(title="log-probability difference, nats")
    return [Plot("ablation-sweep", "Sweep", SWEEP_NOTE, figure, "wide")]


def _build_sweep_series(rows: Sequence[Row], end: float) -> list[Series]:
    """Build a series per ranking; unedited models are lines from 0 to `end`."""
    rows_by_ranking: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["latents"]):
        rows_by_ranking.setdefault(row["ranking"], []).append(row)
    other_colours = itertools.cycle(OTHER_COLOURS)
    series = []
    for name, swept in rows_by_ranking.items():
        is_unedited = not swept[-1]["latents"]
        if is_unedited:
            points = [Point.from_row(swept[-1], x, name, SWEEP_COLUMNS) for x in (0.0, end)]
            series.append(Series(name, "shared", points, dash="dash", symbol="line-ew"))
            continue
        points = []
        for row in swept:
            n = row["latents"]
            label = f"{name}, {format_figure(n)} latents"
            points.append(Point.from_row(row, place_on_axis(n), label, SWEEP_COLUMNS))
        colour = COLOUR_BY_RANKING.get(name) or next(other_colours)
        series.append(Series(name, colour, points))
    return series
