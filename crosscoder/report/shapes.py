"""Select the rows of a result that can be drawn.

Results are read from files; a row that lacks a value or has one of another type is left out.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from crosscoder.evals import Result
from crosscoder.report.terminal.tables import format_figure
from crosscoder.values import is_finite

Row = dict[str, Any]
INTERVAL = "95 %"  # suffix of an interval's column
Columns = tuple[str, str, str]  # names of a value's column and of its interval's ends


def select_rows(
    result: Result, table: str, texts: Sequence[str] = (), numbers: Sequence[str] = ()
) -> list[Row]:
    """Return a table's rows in which `texts` are text and `numbers` are finite numbers."""
    selected = []
    for row in result.tables.get(table, []):
        has_texts = all(isinstance(row.get(name), str) for name in texts)
        if has_texts and all(is_finite(row.get(name)) for name in numbers):
            selected.append(row)
    return selected


def is_numeric_column(name: str, rows: Iterable[Row]) -> bool:
    """Tell whether a column is right-aligned: it has numbers or their intervals, and no text."""
    if name.endswith(INTERVAL):
        return True
    values = [row[name] for row in rows if row.get(name) not in (None, "")]
    are_numbers = [
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    ]
    return bool(values) and all(are_numbers)


def merge_intervals(rows: Iterable[Row], *columns: Columns) -> list[Row]:
    """Merge the two columns of an interval's ends into one, to the right of its value.

    Args:
        rows: Rows of a table.
        columns: (value, low, high) by their names.
    """
    ends_by_value = {value: (low, high) for value, low, high in columns}
    hidden = {name for ends in ends_by_value.values() for name in ends}
    return [_merge_intervals(row, ends_by_value, hidden) for row in rows]


def format_interval(low: Any, high: Any) -> str:
    """Format an interval as text."""
    if not (is_finite(low) and is_finite(high)):
        return format_figure(None)
    return f"{format_figure(low)} to {format_figure(high)}"


def _merge_intervals(row: Row, ends_by_value: dict[str, tuple[str, str]], hidden: set[str]) -> Row:
    merged: Row = {}
    for name, value in row.items():
        if name not in hidden:
            merged[name] = value
        if name in ends_by_value:
            low, high = ends_by_value[name]
            if low in row and high in row:
                merged[f"{name}, {INTERVAL}"] = format_interval(row[low], row[high])
    return merged
