"""pareto.html: the runs of a sweep, FVE against L0, and their table. Draws, never computes."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from crosscoder.report.figures import COLOURS, blank
from crosscoder.report.page import templates
from crosscoder.report.plots import Plot
from crosscoder.report.tables import figure
from crosscoder.runs import write_text

CAPTION = "A point is a run; up and to the left is better. Runs that no other beats are joined. Pointing at one shows the rest."

TICKS = [n * 10**decade for decade in range(5) for n in (1, 2, 3, 5)]  # of a logarithmic axis
GAP = "\N{EN SPACE}"  # between a label and its point


def write_pareto(path: Path, rows: Sequence[Mapping[str, Any]], varied: Sequence[str], fve: str) -> None:
    """Write the page, whole or not at all; a row has what was `varied`, figures, and in `pareto` whether it is on the front."""
    drawn = [row for row in rows if row.get(fve) is not None and row.get("l0") is not None]
    plot = Plot("pareto", f"{_of(fve)} against L0", CAPTION, pareto(drawn, varied, fve), "wide tall")
    page = templates().get_template("pareto.html.jinja")
    write_text(path, page.render(title=path.absolute().parent.name, rows=rows, plot=plot))


def pareto(rows: Sequence[Mapping[str, Any]], varied: Sequence[str], fve: str) -> go.Figure:
    """Coloured by the width or, where that does not vary, by what does and has few values; the front joined and labelled."""
    few = [key for key in varied if len({row[key] for row in rows}) <= len(COLOURS)]
    by = min(few, key=lambda key: key != "n_latents", default="")
    front = sorted((row for row in rows if row["pareto"]), key=lambda row: row["l0"])
    labels = [", ".join(f"{_last(key)} {_written(row[key])}" for key in varied if key != by) + GAP for row in front]
    line = {"color": "var(--muted)", "width": 1.2, "dash": "dot"}
    joined = _points(front, fve, "lines+text").update(text=labels, line=line, hoverinfo="skip", showlegend=False)
    traces = [joined.update(textposition="top left", textfont={"size": 11}, cliponaxis=False)]
    values = sorted({row.get(by) for row in rows}, key=lambda value: (isinstance(value, str), value))
    for value, colour in zip(values, COLOURS, strict=False):
        group = [row for row in rows if row.get(by) == value]
        points = _points(group, fve, "markers").update(
            marker={"color": f"var(--{colour})", "size": 10, "opacity": 0.85}
        )
        points.update(text=[_all(row) for row in group], hovertemplate="%{text}<extra></extra>")
        traces.append(points.update(name=f"{_last(by)} {_written(value)}" if by else "runs"))
    plot = blank(*traces).update_layout(legend_entrywidth=0)
    plot.update_xaxes(title="L0, active latents per token", type="log", tickvals=TICKS)
    plot.update_yaxes(title=_of(fve))
    return plot


def _points(rows: Sequence[Mapping[str, Any]], fve: str, mode: str) -> go.Scatter:
    return go.Scatter(x=[row["l0"] for row in rows], y=[row[fve] for row in rows], mode=mode)


def _of(fve: str) -> str:
    return f"FVE of {fve.partition('/')[2].replace('difference', 'the difference')}"


def _last(key: str) -> str:
    """`activation._target_` as `activation`, `loss.l1.weight` as `weight`."""
    return key.removesuffix("._target_").rpartition(".")[2]


def _written(value: Any) -> str:
    """A setting in few characters: a class by its last name, a number by three digits."""
    return f"{value:.3g}" if isinstance(value, float) else escape(str(value).rpartition(".")[2])


def _all(row: Mapping[str, Any]) -> str:
    return "<br>".join(
        f"{escape(key)}: {escape(figure(value))}" for key, value in row.items() if value not in ("", None)
    )
