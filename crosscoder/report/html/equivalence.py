"""Section of the equivalence eval."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from crosscoder.analysis.table import LatentTable
from crosscoder.evals import Result
from crosscoder.report.html.explain import list_verdicts
from crosscoder.report.html.figures import THRESHOLD, draw_latents
from crosscoder.report.html.plots import Plot
from crosscoder.report.html.section import Grid, Section
from crosscoder.report.shapes import Row, merge_intervals, select_rows
from crosscoder.report.terminal.tables import format_coverage
from crosscoder.values import is_finite

NOTE = (
    "Is a latent the same thing in both models? Each latent is ablated in each model on the same "
    "inputs. Its causal equivalence (CE) is the correlation of the two KLs that this causes: 1 if "
    "it matters on the same inputs in both models. Decoders that point in one direction do not "
    "imply it."
)
CAPTION = (
    "Causal equivalence against decoder cosine, one point per latent. Dotted lines: published "
    "medians of 80 shared latents of Gemma 2 2B. Lower right is the gap: alike in direction, "
    "unlike in effect. Click a point to open its latent."
)
CLASSES_NOTE = (
    "Medians over the latents that have a CE. active: without the inputs that were drawn from all "
    "tokens. gap: fraction with cosine above 0.7 and CE below 0.5."
)
LATENTS_NOTE = "KL: nats per token, mean over the inputs on which the latent is active."
X = "cosine"
Y = "CE"


def build_equivalence_section(result: Result, diff_pair: Sequence[str]) -> Section:
    """Draw causal equivalence against decoder cosine, and list classes and latents."""
    classes = select_rows(result, "classes", ("class",))
    latents = select_rows(result, "latents", ("verdict",), ("latent",))
    grids = [
        Grid(
            "classes", "By class", merge_intervals(classes, (Y, "CE low", "CE high")), CLASSES_NOTE
        ),
        Grid("latents", "Latents", latents, LATENTS_NOTE),
    ]
    return Section(
        "equivalence",
        "Equivalence",
        NOTE,
        format_coverage(result.meta),
        _plot_latents(result, latents, diff_pair),
        [grid for grid in grids if grid.rows],
    )


def _plot_latents(result: Result, latents: Sequence[Row], diff_pair: Sequence[str]) -> list[Plot]:
    drawn = [row for row in latents if is_finite(row.get(X)) and is_finite(row.get(Y))]
    if not drawn:
        return []
    frame = pd.DataFrame(drawn)
    verdicts = list_verdicts(diff_pair, frame["verdict"])
    figure = draw_latents(LatentTable(frame), X, Y, verdicts)
    figure.update_traces(marker={"size": 9, "opacity": 0.85})  # there are few points
    lowest = min(0.0, *(row[X] for row in drawn))
    figure.update_xaxes(title="decoder cosine", range=[lowest - 0.05, 1.05])
    figure.update_yaxes(title="causal equivalence", range=[-1.05, 1.05])
    _add_published(figure, result.meta.get("published"))
    return [Plot("equivalence", "Effect and direction", CAPTION, figure, "wide tall")]


def _add_published(figure: go.Figure, published: Any) -> None:
    """Draw the published medians as lines."""
    if not isinstance(published, dict):
        return
    label = {"font": {"size": 11}, "showarrow": False}
    cosine = published.get(X)
    if is_finite(cosine):
        figure.add_vline(cosine, line=THRESHOLD)
        text = f"published {cosine:.3g}"
        figure.add_annotation(
            x=cosine, y=-1.05, yanchor="bottom", xanchor="right", text=text, **label
        )
    ce = published.get(Y)
    if is_finite(ce):
        figure.add_hline(ce, line=THRESHOLD)
        text = f"published {ce:.3g}"
        figure.add_annotation(
            x=0, xref="paper", y=ce, yanchor="bottom", xanchor="left", text=text, **label
        )
