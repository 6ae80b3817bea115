"""A LatentTable as people read it: its size, its verdicts, and the columns that say most."""

import html
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from crosscoder.terminal.escapes import escape_controls

N_ROWS = 10
TEXT_LENGTH = 32
MIN_COLUMNS = 3
# columns that are shown if the table has them
KEY_COLUMNS = (
    "latent",
    "label",
    "verdict",
    "delta_norm",
    "density",
    "max",
    "difference_share",
    "tokens/difference",
)


def describe_table(frame: pd.DataFrame) -> str:
    """Return the line of a table: its rows, the verdicts, and the number of its columns."""
    line = f"LatentTable: {len(frame):,} rows × {len(frame.columns)} columns"
    if "verdict" not in frame or not len(frame):
        return line
    counts = frame["verdict"].value_counts()
    named = [f"{count:,} {escape_controls(str(name))}" for name, count in counts.items()]
    return f"{line}; {', '.join(named)}"


def choose_columns(frame: pd.DataFrame, asked: Sequence[str]) -> list[str]:
    """Return the columns to show: key columns, then those that the user asked about."""
    chosen = [name for name in KEY_COLUMNS if name in frame]
    if len(chosen) < MIN_COLUMNS:  # a table of something else, e.g. of a comparison of prompts
        chosen = [str(name) for name in frame.columns[: len(KEY_COLUMNS)]]
    return chosen + [name for name in asked if name in frame and name not in chosen]


def format_text(frame: pd.DataFrame, asked: Sequence[str]) -> str:
    """Return a table as text: its line, and its first rows."""
    lines = [describe_table(frame)]
    if len(frame):
        lines.append(_select_cells(frame, asked).to_string(index=False))
    lines += _list_hints(frame)
    return "\n".join(lines)


def format_html(frame: pd.DataFrame, asked: Sequence[str]) -> str:
    """Return a table as HTML for a notebook, with the same content as the text."""
    parts = [f"<p>{html.escape(describe_table(frame))}</p>"]
    if len(frame):
        parts.append(_select_cells(frame, asked).to_html(index=False))
    for hint in _list_hints(frame):
        parts.append(f"<p>{html.escape(hint)}</p>")
    return "".join(parts)


def _select_cells(frame: pd.DataFrame, asked: Sequence[str]) -> pd.DataFrame:
    """Return the first rows of the chosen columns as texts."""
    cells = {}
    for name in choose_columns(frame, asked):
        cells[escape_controls(name)] = [_format_cell(value) for value in frame[name].head(N_ROWS)]
    return pd.DataFrame(cells)


def _list_hints(frame: pd.DataFrame) -> list[str]:
    if len(frame) <= N_ROWS:
        return []
    return [f"the first {N_ROWS} of {len(frame):,} rows; table.describe() lists all columns"]


def _format_cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3g}"
    if isinstance(value, str | int | bool) or not hasattr(value, "__len__"):
        text = str(value)
    else:
        text = " ".join(map(str, value))
    text = escape_controls(text)
    return text if len(text) <= TEXT_LENGTH else f"{text[: TEXT_LENGTH - 1]}…"
