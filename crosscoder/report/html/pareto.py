"""Write pareto.html: the runs of a sweep, FVE against L0, and their table."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import plotly.graph_objects as go

from crosscoder.io.run_dir import Run, write_text
from crosscoder.report.html.figures import COLOURS, build_figure
from crosscoder.report.html.page import load_templates
from crosscoder.report.html.plots import Plot
from crosscoder.report.terminal.tables import format_figure, list_columns

CAPTION = (
    "A point is a run; up and to the left is better. Runs of the Pareto front are joined. "
    "Point at a run to see its settings and figures."
)
TICKS = [n * 10**decade for decade in range(5) for n in (1, 2, 3, 5)]  # of a logarithmic axis
WIDE_RATIO = 4  # of the largest to the smallest L0, from which the axis is logarithmic
LABEL_GAP = "\N{EN SPACE}"  # between a label and its point
CLASS_KEY = "._target_"  # end of a setting whose value is the path of a class
PLAIN_NAMES = {
    "l0": "L0",
    "train_seconds": "training, s",
    "tokens_per_second": "tokens per second",
    "pareto": "front",
}

Rows = Sequence[Mapping[str, Any]]


def write_pareto(path: Path, rows: Rows, varied: Sequence[str], fve: str) -> None:
    """Write the page, completely or not at all.

    Args:
        path: File to write.
        rows: Runs, each with its varied settings, figures, and its state in `pareto`.
        varied: Settings that differ between the runs.
        fve: Column of the FVE.
    """
    complete = [row for row in rows if row.get(fve) is not None and row.get("l0") is not None]
    title = f"{_name_fve(fve)} against L0"
    plot = Plot("pareto", title, CAPTION, draw_pareto(complete, varied, fve), "wide tall")
    template = load_templates().get_template("pareto.html.jinja")
    folder = path.absolute().parent
    names = name_columns(list_columns(rows), varied)
    content = [_name_cells(row, names) for row in rows]
    links = [_find_link(folder, str(row.get("run", ""))) for row in rows]
    write_text(
        path,
        template.render(title=folder.name, rows=list(zip(content, links, strict=True)), plot=plot),
    )


def name_columns(keys: Sequence[str], varied: Sequence[str]) -> dict[str, str]:
    """Return a plain name for each column: `activation._target_` is `activation`.

    Args:
        keys: Columns of the rows.
        varied: Those that are settings; their last word is their name if no other has the same.
    """
    short = {key: _shorten_key(key) for key in varied}
    names = {}
    for key in keys:
        is_unique = list(short.values()).count(short.get(key, "")) == 1
        if key in short:
            names[key] = short[key] if is_unique else key.removesuffix(CLASS_KEY)
        elif key.startswith("fve/"):
            names[key] = _name_fve(key)
        else:
            plain = key.removeprefix("count/").replace("_", "-")
            names[key] = PLAIN_NAMES.get(key, plain if key.startswith("count/") else key)
    return names


def _name_cells(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a row under plain names."""
    return {names[key]: _format_cell(key, value) for key, value in row.items()}


def _format_cell(key: str, value: Any) -> Any:
    """Shorten the path of a class to its name; other values stay as they are."""
    is_class = key.endswith(CLASS_KEY) and isinstance(value, str)
    return value.rpartition(".")[2] if is_class else value


def _find_link(folder: Path, run: str) -> str:
    """Return the address of a run's report or else of its folder; "" if there is none."""
    if not run or not (folder / run).is_dir():
        return ""
    report = Run(folder / run).report
    return quote(f"{run}/{report.name}" if report.exists() else f"{run}/")


def draw_pareto(rows: Rows, varied: Sequence[str], fve: str) -> go.Figure:
    """Draw a point per run, and a labelled line through the Pareto front.

    Colours show the width or, if it does not vary, a setting with few values.
    """
    colour_key = _choose_colour_key(rows, varied)
    traces = [_draw_front(rows, varied, colour_key, fve)]
    names = name_columns(list_columns(rows), varied)
    values = sorted({row.get(colour_key) for row in rows}, key=_sort_key)
    for value, colour in zip(values, COLOURS, strict=False):
        group = [row for row in rows if row.get(colour_key) == value]
        trace = _build_scatter(group, fve, "markers")
        trace.update(
            name=f"{_shorten_key(colour_key)} {_format_setting(value)}" if colour_key else "runs",
            marker={"color": f"var(--{colour})", "size": 10, "opacity": 0.85},
            text=[_describe_run(row, names) for row in group],
            hovertemplate="%{text}<extra></extra>",
        )
        traces.append(trace)
    figure = build_figure(*traces).update_layout(legend_entrywidth=0)
    figure.update_xaxes(title="L0, active latents per token", **_choose_axis(rows))
    figure.update_yaxes(title=_name_fve(fve))
    return figure


def _choose_axis(rows: Rows) -> dict[str, Any]:
    """Return a logarithmic axis with labelled ticks for a wide range of L0, else a linear one."""
    values = [row["l0"] for row in rows if row["l0"] > 0]
    if not values or max(values) < WIDE_RATIO * min(values):
        return {}
    return {"type": "log", "tickvals": TICKS, "ticktext": [f"{tick:,}" for tick in TICKS]}


def _choose_colour_key(rows: Rows, varied: Sequence[str]) -> str:
    """Return the width or another setting with few values; "" if there is none."""
    keys = []
    for key in varied:
        values = {row[key] for row in rows}
        if len(values) <= len(COLOURS):
            keys.append(key)
    if "n_latents" in keys:
        return "n_latents"
    return keys[0] if keys else ""


def _draw_front(rows: Rows, varied: Sequence[str], colour_key: str, fve: str) -> go.Scatter:
    front = sorted((row for row in rows if row["pareto"]), key=lambda row: row["l0"])
    labelled = [key for key in varied if key != colour_key]
    labels = []
    for row in front:
        settings = [f"{_shorten_key(key)} {_format_setting(row[key])}" for key in labelled]
        labels.append(f"{LABEL_GAP}{', '.join(settings)}{LABEL_GAP}")
    return _build_scatter(front, fve, "lines+text").update(
        text=labels,
        line={"color": "var(--muted)", "width": 1.2, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
        textposition=_place_labels(front),
        textfont={"size": 11},
        cliponaxis=False,
    )


def _place_labels(front: Rows) -> list[str]:
    """Return where labels stand: below the front on its left, above it on its right.

    So they start inside the plot on both sides, and the rising front does not cross them.
    """
    middle = len(front) / 2
    return ["bottom right" if number < middle else "top left" for number in range(len(front))]


def _build_scatter(rows: Rows, fve: str, mode: str) -> go.Scatter:
    return go.Scatter(x=[row["l0"] for row in rows], y=[row[fve] for row in rows], mode=mode)


def _sort_key(value: Any) -> tuple[bool, Any]:
    """Sort numbers before words."""
    return isinstance(value, str), value


def _name_fve(fve: str) -> str:
    return f"FVE of {fve.partition('/')[2].replace('difference', 'the difference')}"


def _shorten_key(key: str) -> str:
    """Shorten `activation._target_` to `activation`, and `loss.l1.weight` to `weight`."""
    return key.removesuffix(CLASS_KEY).rpartition(".")[2]


def _format_setting(value: Any) -> str:
    """Format a setting briefly: a class by its name, a number with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else escape(str(value).rpartition(".")[2])


def _describe_run(row: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return a line for each setting and figure of a run, under plain names."""
    lines = []
    for key, value in row.items():
        if value not in ("", None):
            text = format_figure(_format_cell(key, value))
            lines.append(f"{escape(names[key])}: {escape(text)}")
    return "<br>".join(lines)
