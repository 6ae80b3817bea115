"""Section of the steering eval."""

from collections.abc import Sequence

import plotly.graph_objects as go

from crosscoder.evals import Result
from crosscoder.report.html.answers import read_answers
from crosscoder.report.html.chosen import build_chosen_grids
from crosscoder.report.html.figures import DASHES, THRESHOLD
from crosscoder.report.html.intervals import SYMBOLS, Point, Series, draw_bands
from crosscoder.report.html.plots import Plot
from crosscoder.report.html.section import Grid, Section, assign_colours
from crosscoder.report.shapes import Columns, Row, select_rows
from crosscoder.report.terminal.tables import format_coverage, format_figure
from crosscoder.values import is_finite

NOTE = (
    "The direction of the same latents is added at every token instead of removed, with both "
    "signs, while questions are asked in the way that does not elicit the behaviour. If the "
    "direction means the behaviour, a larger dose shows more of it and the other sign less, also "
    "in the other model, before answers fall apart."
)
LOGPROB_NOTE = (
    "How far each model leans towards the behaviour, by dose and direction; 0 is the unedited "
    "model. The latents' direction should make the curves rise from left to right. Bands are 95 % "
    "intervals; those of random directions (latents of similar density and norm, and any vectors) "
    "reach from the lowest to the highest of them, around their mean."
)
ARMS_NOTE = (
    "For each direction the dose, of either sign, that changes the model most: the rate only where "
    "answers stay coherent. other sign: the change at the same dose with the other sign. Random "
    "directions have their own best sign, too: the mean size of their effects, and the 95 % "
    "quantile. margin: by how much the effect is larger than their mean. p: (1 + random directions "
    "with at least this effect) / (1 + random directions)."
)
RATE_NOTE = (
    "Above: fraction of answers that show the behaviour. Below: negative log-likelihood of the "
    "answers under the unedited base, which is low while they are coherent text. Good is a high "
    "rate before this curve rises."
)
ANSWERS_NOTE = "By model and dose; × 0 is the unedited model."
DOSE_TITLE = "strength, in median residual norms"
LOGPROB = ("contrast", "contrast low", "contrast high")
RATE = ("rate", "low", "high")
NLL = "NLL under base"
TEXT_COLUMNS = ("model", "direction")


def build_steering_section(result: Result, diff_pair: Sequence[str]) -> Section:
    """Draw log-probability difference, rate and coherence by dose, and the answers."""
    return Section(
        "steering",
        "Steering",
        NOTE,
        format_coverage(result.meta),
        [*_plot_logprob(result, diff_pair), *_plot_rate(result, diff_pair)],
        [grid for grid in _build_grids(result) if grid.rows],
        answers=read_answers(result),
        answers_note=ANSWERS_NOTE,
    )


def _build_grids(result: Result) -> list[Grid]:
    arms = Grid("arms", "Largest effects", select_rows(result, "arms"), ARMS_NOTE)
    return [arms, *build_chosen_grids(result, "Latents of the direction")]


def _plot_logprob(result: Result, diff_pair: Sequence[str]) -> list[Plot]:
    rows = select_rows(result, "dose", TEXT_COLUMNS, ("strength", LOGPROB[0]))
    if not rows:
        return []
    figure = draw_bands(_build_series(rows, diff_pair, LOGPROB))
    figure.update_xaxes(title=DOSE_TITLE)
    figure.update_yaxes(title="log-probability difference, nats")
    figure.add_hline(0, line=THRESHOLD)
    figure.add_vline(0, line=THRESHOLD)
    title = "Log-probability difference by dose"
    return [Plot("steering-contrast", title, LOGPROB_NOTE, figure, "wide")]


def _plot_rate(result: Result, diff_pair: Sequence[str]) -> list[Plot]:
    """Plot rate and coherence in two panels with the same doses."""
    rows = select_rows(result, "dose", TEXT_COLUMNS, ("strength", RATE[0]))
    if not rows:
        return []
    figure = draw_bands(_build_series(rows, diff_pair, RATE))
    figure.update_yaxes(title="rate", range=[-0.04, 1.04], tickformat=".0%")
    all_rows = select_rows(result, "dose", TEXT_COLUMNS, ("strength",))
    with_nll = [row for row in all_rows if is_finite(row.get(NLL))]
    below = draw_bands(_build_series(with_nll, diff_pair, (NLL, "", "")))
    figure = _stack(figure, below, NLL)
    return [Plot("steering-rate", "Rate and coherence by dose", RATE_NOTE, figure, "wide")]


def _stack(above: go.Figure, below: go.Figure, title: str) -> go.Figure:
    """Put one figure over another; they share the lower x axis and the upper legend."""
    below.update_traces(yaxis="y2", showlegend=False)
    above.add_traces(list(below.data))
    if below.data:
        lower_axis = above.layout.yaxis.to_plotly_json() | {
            "domain": [0, 0.44],
            "title": {"text": title},
            "range": None,
            "tickformat": "",
        }
        above.update_layout(yaxis2=lower_axis, yaxis_domain=[0.54, 1], xaxis_anchor="y2")
    return above.update_xaxes(title=DOSE_TITLE)


def _build_series(rows: Sequence[Row], diff_pair: Sequence[str], columns: Columns) -> list[Series]:
    """Build one series per model and direction, by dose; at 0 is the unedited model."""
    colours = assign_colours([row["model"] for row in rows], diff_pair)
    unedited = {row["model"]: row for row in rows if not row["strength"]}
    directions = list(dict.fromkeys(row["direction"] for row in rows))
    series = []
    for model in colours:
        for number, direction in enumerate(directions):
            steered = [
                row
                for row in rows
                if row["strength"] and row["model"] == model and row["direction"] == direction
            ]
            if model in unedited:
                steered.append(unedited[model])
            steered.sort(key=lambda row: row["strength"])
            if len(steered) < 2:
                continue
            points = []
            for row in steered:
                label = f"{model}, {direction} × {format_figure(row['strength'])}"
                points.append(Point.from_row(row, row["strength"], label, columns))
            dash = DASHES[number % len(DASHES)]
            symbol = SYMBOLS[number % len(SYMBOLS)]
            series.append(Series(f"{model}, {direction}", colours[model], points, dash, symbol))
    return series
