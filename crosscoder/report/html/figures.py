"""Kinds of plotly figures. Colours are variables of the style sheet, which plots.js replaces."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from crosscoder.analysis.table import LatentTable
from crosscoder.report.html.explain import Verdict

COLOURS = ("accent", "rewritten", "shared", "shrunk", "decoupled")  # of lines
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
THRESHOLD = {"color": "var(--muted)", "width": 1, "dash": "dot"}
DECADES = {"dtick": 1, "exponentformat": "power", "tickfont": {"size": 11}}
FREQUENT_VERDICTS = ("shared", "undetermined")  # drawn faintly
N_BINS = 50
LEGEND = {
    "orientation": "h",
    "y": 1.02,
    "yanchor": "bottom",
    "x": 0,
    "font": {"size": 11},
    "entrywidth": 78,
}
AXIS = {
    "gridcolor": "var(--line)",
    "linecolor": "var(--line)",
    "zeroline": False,
    "automargin": True,
    "title_standoff": 8,
}


def build_figure(*traces: Any) -> go.Figure:
    """Return a figure of traces in the page's look, without titles."""
    figure = go.Figure(list(traces))
    figure.update_layout(
        template="none", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", bargap=0.08
    )
    figure.update_layout(
        font={"color": "var(--muted)", "size": 12}, margin={"l": 48, "r": 12, "t": 28, "b": 36}
    )
    figure.update_layout(legend=LEGEND, hovermode="closest")
    figure.update_xaxes(**AXIS)
    figure.update_yaxes(**AXIS)
    return figure


def draw_histogram(
    values: np.ndarray, label: str, start: float, lines: Mapping[str, float]
) -> go.Figure:
    """Draw a histogram with logarithmic counts.

    Args:
        values: Values of the latents.
        label: Title of the x axis.
        start: Start of the x axis, which ends at 1.
        lines: Vertical lines by name.
    """
    bars = go.Histogram(
        x=values,
        xbins={"start": start, "end": 1.0001, "size": (1 - start) / N_BINS},
        marker_color="var(--bar)",
        hovertemplate="%{x}: %{y:,} latents<extra></extra>",
        showlegend=False,
    )
    figure = build_figure(bars)
    figure.update_xaxes(title=label, range=[start - 0.02, 1.02])
    figure.update_yaxes(title="latents", type="log", dtick=1, exponentformat="none")
    figure.update_yaxes(autorangeoptions={"include": [0.7]})  # so that a single latent is visible
    for name, x in lines.items():
        figure.add_vline(x, line=THRESHOLD)
        figure.add_annotation(
            x=x, y=1, yref="paper", yanchor="bottom", text=name, showarrow=False, font={"size": 11}
        )
    return figure


def draw_latents(table: LatentTable, x: str, y: str, verdicts: Sequence[Verdict]) -> go.Figure:
    """Draw one point per latent; rare verdicts are drawn last, so that they are not covered."""
    groups = {str(name): rows for name, rows in table.frame.groupby("verdict")}
    drawn = [verdict for verdict in verdicts if verdict.name in groups]
    drawn.sort(key=lambda verdict: -len(groups[verdict.name]))
    traces = []
    for verdict in drawn:
        rows = groups[verdict.name]
        trace = go.Scatter(
            x=rows[x].to_numpy(),
            y=rows[y].to_numpy(),
            customdata=rows["latent"].to_numpy(),
            mode="markers",
        )
        trace.update(
            name=verdict.name,
            marker={
                "color": f"var(--{verdict.colour})",
                "symbol": verdict.symbol,
                "size": 6,
                "opacity": 0.4 if verdict.name in FREQUENT_VERDICTS else 0.85,
            },
            hovertemplate=(
                f"latent %{{customdata}}<br>{verdict.name}<br>%{{x:.3g}}, %{{y:.3g}}<extra></extra>"
            ),
        )
        traces.append(trace)
    return build_figure(*traces)


def draw_curves(
    curves: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    prefix: str,
    colour_by_name: Mapping[str, str] | None = None,
) -> go.Figure:
    """Draw logged values by training step.

    Args:
        curves: Rows of curves.json.
        keys: Keys to draw.
        prefix: Common prefix of the keys, which their names leave out.
        colour_by_name: Colours of some of the names.
    """
    traces = []
    for number, key in enumerate(keys):
        rows = [row for row in curves if row.get(key) is not None]
        name = key.removeprefix(prefix)
        colour = (colour_by_name or {}).get(name, COLOURS[number % len(COLOURS)])
        trace = go.Scatter(
            x=[row["step"] for row in rows],
            y=[row[key] for row in rows],
            mode="lines",
            name=name,
            line={
                "color": f"var(--{colour})",
                "dash": DASHES[number % len(DASHES)],
                "width": 1.8,
            },
        )
        traces.append(trace)
    figure = build_figure(*traces)
    figure.update_xaxes(title="step")
    return figure
