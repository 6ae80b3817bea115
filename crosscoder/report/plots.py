"""The page's plots, as plotly figures. Colours are variables of the style sheet, which `assets/plots.js` fills in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from crosscoder.diff.norms import PUBLISHED
from crosscoder.diff.table import LatentTable
from crosscoder.report.explain import Verdict

SOURCES = ("first", "second", "rewritten", "shrunk", "decoupled")  # colours of lines, one per source or loss
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


@dataclass(frozen=True)
class Plot:
    """A figure with what stands above and below it."""

    name: str
    title: str
    caption: str
    figure: go.Figure

    def json(self) -> dict[str, Any]:
        """What plotly.js draws."""
        return json.loads(self.figure.to_json())


def plots(table: LatentTable | None, curves: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]) -> list[Plot]:
    """Every plot for which there are data."""
    drawn = [] if table is None else _of_latents(table, verdicts)
    return drawn + _of_training(curves)


def _of_latents(table: LatentTable, verdicts: Sequence[Verdict]) -> list[Plot]:
    drawn, rule = [], table.meta.get("rule") or {}
    contrast = table.meta.get("contrast") or []
    alive = table.query("not dead") if "dead" in table.columns else table
    for score, label in (("delta_norm", "Δ"), ("relative_norm", "R")):
        if score in table.columns:
            caption = f"0 = only {contrast[1]}, ½ = both alike, 1 = only {contrast[0]}. Lines: {_papers(score)}, and mirrored."
            drawn.append(
                Plot(score, f"Decoder norms, {label}", caption, _histogram(alive[score], label, 0, _thresholds(score)))
            )
    if "cosine" in table.columns:
        lines = {"rewritten": rule["apart"]} if "apart" in rule else {}
        caption = "Of each latent's two decoders. Below the line, a latent that both models have is called rewritten."
        drawn.append(Plot("cosine", "Decoder cosine", caption, _histogram(alive["cosine"], "cosine", -1, lines)))
    nu = [f"nu/{target}/{contrast[0]}" for target in ("reconstruction", "error")] if contrast else []
    if nu and "verdict" in table.columns and set(nu) <= set(table.columns):
        figure = _scatter(alive, *nu, verdicts)
        figure.update_xaxes(title=f"ν<sup>r</sup>, {contrast[1]} / {contrast[0]}", range=[-0.25, 1.75])
        figure.update_yaxes(title=f"ν<sup>ε</sup>, {contrast[1]} / {contrast[0]}", range=[-0.25, 1.75])
        for add, name in ((figure.add_vline, "nu_reconstruction"), (figure.add_hline, "nu_error")):
            if name in rule:
                add(rule[name], line=THRESHOLD)
        caption = f"Candidates below and left of the lines are {contrast[0]}-specific. A click opens a latent."
        drawn.append(Plot("nu", "Latent scaling", caption, figure))
    if {"verdict", "density", "difference_share"} <= set(table.columns):
        figure = _scatter(alive, "density", "difference_share", verdicts)
        figure.update_xaxes(title="density", type="log", **DECADES)
        figure.update_yaxes(title="share of the difference", type="log", **DECADES)
        caption = "How often a latent is active, and how much of the models' difference it writes. A click opens it."
        drawn.append(Plot("difference", "Difference and density", caption, figure))
    return drawn


def _of_training(curves: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Loss terms on a logarithmic axis, FVE on a linear one."""
    keys = list(dict.fromkeys(key for row in curves for key in row))
    losses = [key for key in keys if key == "loss" or key.startswith("loss/")]
    fves = [key for key in keys if key.startswith("train/fve/")]
    drawn = []
    if losses:
        figure = _lines(curves, losses, "loss/")
        figure.update_yaxes(title="loss", type="log", **DECADES)
        drawn.append(Plot("loss", "Loss", "The total and its terms, by training step.", figure))
    if fves:
        figure = _lines(curves, fves, "train/fve/")
        figure.update_yaxes(title="FVE", rangemode="tozero")
        drawn.append(
            Plot("fve", "Variance explained", "Fraction of each source's variance, on training batches.", figure)
        )
    return drawn


THRESHOLD = {"color": "var(--muted)", "width": 1, "dash": "dot"}
DECADES = {"dtick": 1, "exponentformat": "power", "tickfont": {"size": 11}}
CROWDS = ("shared", "undetermined")  # so many that they are drawn faintly


def _figure(*traces: Any) -> go.Figure:
    figure = go.Figure(list(traces))
    figure.update_layout(template="none", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", bargap=0.08)
    figure.update_layout(font={"color": "var(--muted)", "size": 12}, margin={"l": 48, "r": 12, "t": 28, "b": 36})
    figure.update_layout(
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 11}, "entrywidth": 92},
        hovermode="closest",
    )
    axis = {
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zeroline": False,
        "automargin": True,
        "title_standoff": 8,
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def _histogram(values: np.ndarray, label: str, start: float, lines: Mapping[str, float]) -> go.Figure:
    bins = {"start": start, "end": 1.0001, "size": (1 - start) / 50}
    hover = "%{x}: %{y:,} latents<extra></extra>"
    bars = go.Histogram(x=values, xbins=bins, marker_color="var(--bar)", hovertemplate=hover, showlegend=False)
    figure = _figure(bars)
    figure.update_xaxes(title=label, range=[start - 0.02, 1.02])
    figure.update_yaxes(title="latents", type="log", range=[-0.2, None], dtick=1, exponentformat="none")
    for name, at in lines.items():
        figure.add_vline(at, line=THRESHOLD)
        figure.add_annotation(x=at, y=1, yref="paper", yanchor="bottom", text=name, showarrow=False, font={"size": 11})
    return figure


def _thresholds(score: str) -> dict[str, float]:
    """Every published threshold on a score, by the way it is written."""
    rules = [rule for rule in PUBLISHED.values() if rule.score == score]
    shared = {0.5 + sign * rule.shared for rule in rules if rule.shared for sign in (-1, 1)}
    exclusive = {at for rule in rules for at in (rule.exclusive, 1 - rule.exclusive)}
    return {f"{at:.2g}".lstrip("0"): at for at in sorted(shared | exclusive)}


def _papers(score: str) -> str:
    return "; ".join(dict.fromkeys(rule.describe() for rule in PUBLISHED.values() if rule.score == score))


def _scatter(table: LatentTable, x: str, y: str, verdicts: Sequence[Verdict]) -> go.Figure:
    """One point per latent; rarer verdicts are drawn last, so that they are not covered."""
    traces = []
    for verdict in verdicts:
        rows = table.frame[table.frame["verdict"] == verdict.name]
        if len(rows):
            marker = {
                "color": f"var(--{verdict.colour})",
                "symbol": verdict.symbol,
                "size": 6,
                "opacity": 0.4 if verdict.name in CROWDS else 0.85,
            }
            hover = f"latent %{{customdata}}<br>{verdict.name}<br>%{{x:.3g}}, %{{y:.3g}}<extra></extra>"
            trace = go.Scatter(
                x=rows[x].to_numpy(), y=rows[y].to_numpy(), customdata=rows["latent"].to_numpy(), mode="markers"
            )
            traces.append((len(rows), trace.update(name=verdict.name, marker=marker, hovertemplate=hover)))
    return _figure(*(trace for _, trace in sorted(traces, key=lambda item: -item[0])))


def _lines(curves: Sequence[Mapping[str, Any]], keys: Sequence[str], prefix: str) -> go.Figure:
    traces = []
    for number, key in enumerate(keys):
        rows = [row for row in curves if row.get(key) is not None]
        line = {"color": f"var(--{SOURCES[number % 5]})", "dash": DASHES[number % 5], "width": 1.8}
        values = {"x": [row["step"] for row in rows], "y": [row[key] for row in rows]}
        traces.append(go.Scatter(**values, mode="lines", name=key.removeprefix(prefix), line=line))
    figure = _figure(*traces)
    figure.update_xaxes(title="step")
    return figure
