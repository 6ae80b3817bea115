"""Plots of the page: figures of the latents and of the training curves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from crosscoder.analysis.columns.norms import PUBLISHED
from crosscoder.analysis.table import LatentTable
from crosscoder.report.html.explain import Verdict
from crosscoder.report.html.figures import (
    DECADES,
    THRESHOLD,
    draw_curves,
    draw_histogram,
    draw_latents,
)
from crosscoder.values import is_finite

NORM_SCORES = (("delta_norm", "Δ"), ("relative_norm", "R"))
NU_RANGE = [-0.25, 1.75]
SETTLED = 0.1  # fraction of the training after which the loss sets the axis
HEADROOM = 1.15


@dataclass(frozen=True)
class Plot:
    """A figure with its title and caption.

    Args:
        name: Id on the page, without its prefix.
        title: Heading.
        caption: Text below the figure.
        figure: Figure.
        size: "" (half of the page), "third", "wide", or "wide tall".
    """

    name: str
    title: str
    caption: str
    figure: go.Figure
    size: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what plotly.js draws."""
        return json.loads(self.figure.to_json() or "")


def build_plots(
    table: LatentTable | None, curves: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]
) -> list[Plot]:
    """Build every plot whose data exist."""
    diff_pair = (table.meta.get("contrast") or []) if table else []
    plots = []
    if table:
        alive = table.query("not dead") if "dead" in table.columns else table
        rule = table.meta.get("rule") or {}
        plots += _plot_norms(alive, diff_pair)
        plots += _plot_cosine(alive, rule)
        plots += _plot_latent_scaling(alive, diff_pair, verdicts, rule)
        plots += _plot_difference(alive, verdicts)
    return plots + _plot_training(curves, diff_pair)


def _plot_norms(alive: LatentTable, diff_pair: Sequence[str]) -> list[Plot]:
    plots = []
    for score, label in NORM_SCORES:
        if not diff_pair or score not in alive.columns:
            continue
        caption = (
            f"0 = only {diff_pair[1]}, ½ = both alike, 1 = only {diff_pair[0]}. "
            f"Lines: {_describe_rules(score)}, and mirrored."
        )
        figure = draw_histogram(alive[score], label, 0, _thresholds(score))
        plots.append(Plot(score, f"Decoder norms, {label}", caption, figure, "third"))
    return plots


def _plot_cosine(alive: LatentTable, rule: Mapping[str, Any]) -> list[Plot]:
    if "cosine" not in alive.columns:
        return []
    lines = {"rewritten": rule["apart"]} if is_finite(rule.get("apart")) else {}
    caption = (
        "Cosine of each latent's two decoders. "
        "A latent of both models that lies below the line is called rewritten."
    )
    figure = draw_histogram(alive["cosine"], "cosine", -1, lines)
    return [Plot("cosine", "Decoder cosine", caption, figure, "third")]


def _plot_latent_scaling(
    alive: LatentTable,
    diff_pair: Sequence[str],
    verdicts: Sequence[Verdict],
    rule: Mapping[str, Any],
) -> list[Plot]:
    if not diff_pair:
        return []
    a, b = diff_pair
    x = f"nu/reconstruction/{a}"
    y = f"nu/error/{a}"
    if not {x, y, "verdict"} <= set(alive.columns):
        return []
    figure = draw_latents(alive, x, y, verdicts)
    figure.update_xaxes(title=f"ν<sup>r</sup>, {b} / {a}", range=NU_RANGE)
    figure.update_yaxes(title=f"ν<sup>ε</sup>, {b} / {a}", range=NU_RANGE)
    if is_finite(rule.get("nu_reconstruction")):
        figure.add_vline(rule["nu_reconstruction"], line=THRESHOLD)
    if is_finite(rule.get("nu_error")):
        figure.add_hline(rule["nu_error"], line=THRESHOLD)
    caption = (
        f"ν: how much of a latent's {a} direction {b} has, in its reconstruction and in its error; "
        f"0 = none, 1 = as much as {a}. {_describe_corner(rule, a, b)}"
        "The axes end at 1.75. Click a point to open its latent."
    )
    return [Plot("nu", "Latent scaling", caption, figure)]


def _plot_difference(alive: LatentTable, verdicts: Sequence[Verdict]) -> list[Plot]:
    if not {"verdict", "density", "difference_share"} <= set(alive.columns):
        return []
    figure = draw_latents(alive, "density", "difference_share", verdicts)
    figure.update_xaxes(title="density", type="log", **DECADES)
    figure.update_yaxes(title="fraction of the difference", type="log", **DECADES)
    caption = (
        "How often a latent is active, and how much of the models' difference it writes. "
        "Click a point to open its latent."
    )
    return [Plot("difference", "Difference and density", caption, figure)]


def _plot_training(curves: Sequence[Mapping[str, Any]], diff_pair: Sequence[str]) -> list[Plot]:
    """Plot loss terms, and the FVE of the sources and of their difference."""
    keys = list(dict.fromkeys(key for row in curves for key in row))
    losses = [key for key in keys if key == "loss" or key.startswith("loss/")]
    fves = [key for key in keys if key.startswith("train/fve/")]
    plots = []
    if losses:
        figure = draw_curves(curves, losses, "loss/")
        figure.update_yaxes(title="loss", range=[0, _find_top(curves, losses)])
        caption = "Total loss and its terms by training step. The first steps may exceed the axis."
        plots.append(Plot("loss", "Loss", caption, figure))
    if fves:
        colours: dict[str, str] = dict(zip(diff_pair, ("first", "second"), strict=False))
        colours["difference"] = "rewritten"
        figure = draw_curves(curves, fves, "train/fve/", colours)
        figure.update_yaxes(title="FVE", range=[0, 1.02])
        caption = "Fraction of variance explained on training batches: of each source"
        caption += ", and of the difference." if "train/fve/difference" in fves else "."
        plots.append(Plot("fve", "Variance explained", caption, figure))
    return plots


def _find_top(curves: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> float:
    """Return the end of the loss axis: a little above what remains after the first steps."""
    settled = curves[int(SETTLED * len(curves)) :]
    values = []
    for row in settled:
        values += [row[key] for key in keys if is_finite(row.get(key))]
    return HEADROOM * max(values, default=1.0)


def _describe_corner(rule: Mapping[str, Any], a: str, b: str) -> str:
    """Describe the latents that the lines of the latent-scaling plot enclose."""
    if not is_finite(rule.get("candidate")):
        return ""
    return (
        f"A candidate is a latent whose decoder in {b} has at most {rule['candidate']:.3g} of its "
        f"norm in {a}; by the published thresholds, candidates below and left of the lines are "
        f"{a}-specific. "
    )


def _thresholds(score: str) -> dict[str, float]:
    """Return every published threshold on a score by its label."""
    thresholds = set()
    for rule in PUBLISHED.values():
        if rule.score != score:
            continue
        thresholds |= {rule.exclusive, 1 - rule.exclusive}
        if rule.shared:
            thresholds |= {0.5 - rule.shared, 0.5 + rule.shared}
    return {f"{threshold:.2g}".lstrip("0"): threshold for threshold in sorted(thresholds)}


def _describe_rules(score: str) -> str:
    """Describe the papers' rules on a score, without line breaks around their inequalities."""
    rules = dict.fromkeys(rule.describe() for rule in PUBLISHED.values() if rule.score == score)
    return "; ".join(rules).replace(" > ", "\N{NO-BREAK SPACE}>\N{NO-BREAK SPACE}")
