"""Figures of values with intervals: bands around lines, and points with error bars."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from crosscoder.report.html.figures import build_figure
from crosscoder.report.shapes import Columns, format_interval
from crosscoder.report.terminal.tables import format_figure
from crosscoder.values import is_finite

# distance between series at one name, where names are 1 apart
DISTANCE_UPRIGHT = 0.16
DISTANCE_SIDEWAYS = 0.3
MAX_SPAN = 0.8  # of all series at one name
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")


@dataclass(frozen=True)
class Point:
    """A value at a place.

    Args:
        place: Coordinate along the axis of places.
        value: Value.
        low: Lower end of its interval, if it has one.
        high: Upper end of its interval, if it has one.
        text: Text of the tooltip.
    """

    place: float
    value: float
    low: float | None = None
    high: float | None = None
    text: str = ""

    @classmethod
    def from_row(
        cls, row: Mapping[str, Any], place: float, label: str, columns: Columns
    ) -> "Point":
        """Build a point from a row and the names of its value, low and high columns."""
        value_name, low_name, high_name = columns
        value = row[value_name]
        low = row.get(low_name)
        high = row.get(high_name)
        text = f"{label}: {format_figure(value)}"
        if not (is_finite(low) and is_finite(high)):
            return cls(place, value, text=text)
        return cls(place, value, low, high, text=f"{text} ({format_interval(low, high)})")


@dataclass(frozen=True)
class Series:
    """Points of one kind; `colour` is a variable of the style sheet."""

    name: str
    colour: str
    points: list[Point]
    dash: str = "solid"
    symbol: str = "circle"

    @property
    def css_colour(self) -> str:
        """Return the colour as CSS writes it."""
        return f"var(--{self.colour})"


def draw_bands(series: Iterable[Series]) -> go.Figure:
    """Draw a line through each series, with a band between the ends of its intervals."""
    drawn = [one for one in series if one.points]
    bands = [_build_band(one) for one in drawn]
    lines = [_build_line(one) for one in drawn]
    figure = build_figure(*(band for band in bands if band is not None), *lines)
    return figure.update_layout(legend_entrywidth=0)


def draw_points(
    series: Iterable[Series], names: Sequence[str], sideways: bool = False
) -> go.Figure:
    """Draw a marker with an error bar for each point; those at one name stand side by side.

    Args:
        series: Series whose places are indices into `names`.
        names: Names along the axis, in order.
        sideways: Put the names below each other instead of side by side.
    """
    drawn = [one for one in series if one.points]
    place_axis, value_axis = ("y", "x") if sideways else ("x", "y")
    distance = DISTANCE_SIDEWAYS if sideways else DISTANCE_UPRIGHT
    distance = min(distance, MAX_SPAN / max(1, len(drawn)))
    traces = []
    for number, one in enumerate(drawn):
        shift = distance * (number - (len(drawn) - 1) / 2)
        coordinates = {
            place_axis: [point.place + shift for point in one.points],
            value_axis: [point.value for point in one.points],
        }
        trace = go.Scatter(
            **coordinates,
            text=[point.text for point in one.points],
            name=one.name,
            mode="markers",
            hoverinfo="text",
            cliponaxis=False,
        )
        trace.update({f"error_{value_axis}": build_error_bars(one)})
        symbol = SYMBOLS[number % len(SYMBOLS)]
        trace.update(marker={"size": 8, "color": one.css_colour, "symbol": symbol})
        traces.append(trace)
    figure = build_figure(*traces).update_layout(legend_entrywidth=0)
    ends = [-0.5, len(names) - 0.5]
    axis = {
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "showgrid": False,
        "range": ends[::-1] if sideways else ends,
    }
    return figure.update_layout({f"{place_axis}axis": axis})


def draw_numeric_points(series: Iterable[Series]) -> go.Figure:
    """Draw a marker with an error bar for each point, where both axes are numbers."""
    traces = []
    for one in series:
        if not one.points:
            continue
        trace = go.Scatter(
            x=[point.place for point in one.points],
            y=[point.value for point in one.points],
            mode="markers",
            name=one.name,
            text=[point.text for point in one.points],
            hoverinfo="text",
            error_y=build_error_bars(one),
            marker={"size": 9, "color": one.css_colour, "symbol": one.symbol},
        )
        traces.append(trace)
    return build_figure(*traces)


def build_error_bars(one: Series) -> dict[str, Any]:
    """Return plotly's error bars: the distance of each end from its value."""
    above = [0 if p.high is None else max(0.0, p.high - p.value) for p in one.points]
    below = [0 if p.low is None else max(0.0, p.value - p.low) for p in one.points]
    return {
        "type": "data",
        "symmetric": False,
        "array": above,
        "arrayminus": below,
        "thickness": 1.4,
        "width": 4,
        "color": one.css_colour,
    }


def _build_line(one: Series) -> go.Scatter:
    return go.Scatter(
        x=[point.place for point in one.points],
        y=[point.value for point in one.points],
        text=[point.text for point in one.points],
        name=one.name,
        legendgroup=one.name,
        mode="lines+markers",
        hoverinfo="text",
        cliponaxis=False,
        line={"color": one.css_colour, "dash": one.dash, "width": 1.8},
        marker={"size": 6, "color": one.css_colour, "symbol": one.symbol},
    )


def _build_band(one: Series) -> go.Scatter | None:
    """Return the band of a series; None if fewer than two points have intervals."""
    points = [point for point in one.points if point.low is not None and point.high is not None]
    if len(points) < 2:
        return None
    there_and_back = [*points, *reversed(points)]
    upper = [point.high for point in points]
    lower = [point.low for point in reversed(points)]
    return go.Scatter(
        x=[point.place for point in there_and_back],
        y=upper + lower,
        mode="lines",
        fill="toself",
        fillcolor=one.css_colour,
        opacity=0.13,
        line={"width": 0, "color": one.css_colour},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=one.name,
    )
