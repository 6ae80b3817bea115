"""Figures of values with their intervals: bands around lines, and points with error bars."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from crosscoder.report.figures import blank
from crosscoder.report.shapes import between, finite
from crosscoder.report.tables import figure

APART, APART_SIDEWAYS = 0.16, 0.3  # between series of one name, where names are 1 apart
SPAN = 0.8  # of all series of a name together, at most
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")


@dataclass(frozen=True)
class Point:
    """A value at a place, with its interval's ends where it has one, and what the pointer over it says."""

    at: float
    value: float
    low: float | None = None
    high: float | None = None
    said: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any], at: float, said: str, value: str, low: str, high: str) -> "Point":
        """From a row and the names of its columns."""
        ends = row.get(low), row.get(high)
        if not (finite(ends[0]) and finite(ends[1])):
            return cls(at, row[value], said=f"{said}: {figure(row[value])}")
        return cls(at, row[value], *ends, said=f"{said}: {figure(row[value])} ({between(*ends)})")


@dataclass(frozen=True)
class Series:
    """Points of one kind; `colour` is a variable of the style sheet."""

    name: str
    colour: str
    points: list[Point]
    dash: str = "solid"
    symbol: str = "circle"


def bands(series: Iterable[Series]) -> go.Figure:
    """A line through each series, with a band between its intervals' ends."""
    series = [one for one in series if one.points]
    lines = [_line(one) for one in series]
    figure = blank(*(band for one in series if (band := _band(one))), *lines)
    return figure.update_layout(legend_entrywidth=0)


def _line(one: Series) -> go.Scatter:
    colour = f"var(--{one.colour})"
    trace = go.Scatter(x=[p.at for p in one.points], y=[p.value for p in one.points], text=[p.said for p in one.points])
    trace.update(name=one.name, legendgroup=one.name, mode="lines+markers", hoverinfo="text", cliponaxis=False)
    return trace.update(
        line={"color": colour, "dash": one.dash, "width": 1.8},
        marker={"size": 6, "color": colour, "symbol": one.symbol},
    )


def _band(one: Series) -> go.Scatter | None:
    points = [p for p in one.points if p.low is not None and p.high is not None]
    if len(points) < 2:
        return None
    x, colour = [p.at for p in points], f"var(--{one.colour})"
    edge = go.Scatter(x=x + x[::-1], y=[p.high for p in points] + [p.low for p in points[::-1]], mode="lines")
    edge.update(fill="toself", fillcolor=colour, opacity=0.13, line={"width": 0, "color": colour}, hoverinfo="skip")
    return edge.update(showlegend=False, legendgroup=one.name)


def points(series: Iterable[Series], names: Sequence[str], sideways: bool = False) -> go.Figure:
    """A marker with its error bar for each point; those of one name stand beside each other.

    Args:
        series: with places as indices into `names`.
        names: along the axis, in order.
        sideways: names below each other instead of side by side.
    """
    series = [one for one in series if one.points]
    along, value = ("y", "x") if sideways else ("x", "y")
    traces, apart = [], min(APART_SIDEWAYS if sideways else APART, SPAN / max(1, len(series)))
    for number, one in enumerate(series):
        shift = apart * (number - (len(series) - 1) / 2)
        colour = f"var(--{one.colour})"
        places = {along: [p.at + shift for p in one.points], value: [p.value for p in one.points]}
        trace = go.Scatter(**places, text=[p.said for p in one.points], name=one.name, mode="markers", hoverinfo="text")
        trace.update({f"error_{value}": error_bars(one), "cliponaxis": False})
        traces.append(trace.update(marker={"size": 8, "color": colour, "symbol": SYMBOLS[number % len(SYMBOLS)]}))
    figure = blank(*traces).update_layout(legend_entrywidth=0)
    ends = [-0.5, len(names) - 0.5]
    axis = {"tickvals": list(range(len(names))), "ticktext": list(names), "showgrid": False}
    axis["range"] = ends[::-1] if sideways else ends
    return figure.update_layout({f"{along}axis": axis})


def points_at(series: Iterable[Series]) -> go.Figure:
    """A marker with its error bar for each point, where both axes are numbers."""
    traces = []
    for one in series:
        marker = {"size": 9, "color": f"var(--{one.colour})", "symbol": one.symbol}
        trace = go.Scatter(x=[p.at for p in one.points], y=[p.value for p in one.points], mode="markers", name=one.name)
        trace.update(text=[p.said for p in one.points], hoverinfo="text", error_y=error_bars(one), marker=marker)
        if one.points:
            traces.append(trace)
    return blank(*traces)


def error_bars(one: Series) -> dict[str, Any]:
    """As plotly wants them: how far each end is from its value."""
    above = [0 if p.high is None else max(0.0, p.high - p.value) for p in one.points]
    below = [0 if p.low is None else max(0.0, p.value - p.low) for p in one.points]
    bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    return bars | {"thickness": 1.4, "width": 4, "color": f"var(--{one.colour})"}
