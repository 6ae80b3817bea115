"""Results as tables on the screen. Draws, never computes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from crosscoder.evals import Result

console = Console()
WIDEST = 5  # columns of a result's table


def show(title: str, rows: Iterable[Mapping[str, Any]], caption: str | None = None) -> None:
    """Print rows as a table; their keys are its columns."""
    rows = list(rows)
    table = Table(title=title, title_style="bold", title_justify="left", caption=caption, caption_justify="left")
    for number, column in enumerate(rows[0] if rows else []):
        table.add_column(str(column), justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(figure(value)) for value in row.values()))
    console.print(table)


def by_source(scalars: Mapping[str, float]) -> list[dict[str, Any]]:
    """Flat keys `metric/source` as one row per metric, one column per source, and `all` for keys without one.

    Keys that make more than a handful of columns have nothing to stand side by side for: then one row per key.
    """
    columns = sorted(dict.fromkeys(key.partition("/")[2] or "all" for key in scalars), key="all".__eq__)
    if len(columns) > WIDEST:
        return [{"": key, "value": value} for key, value in scalars.items()]
    rows: dict[str, dict[str, Any]] = {}
    for key, value in scalars.items():
        metric, _, source = key.partition("/")
        row = rows.setdefault(metric, {"": metric, **dict.fromkeys(columns, "")})
        row[source or "all"] = value
    return list(rows.values())


def show_result(result: Result, title: str | None = None) -> None:
    """An eval's scalars, then its tables."""
    seconds = result.meta.get("seconds")
    caption = f"{result.meta.get('n_tokens', 0):,} held-out tokens, {seconds:.0f} s" if seconds is not None else None
    show(title or result.name, by_source(result.scalars), caption)
    for name, rows in result.tables.items():
        show(f"{result.name}: {name}", rows)


def figure(value: Any) -> str:
    """A number at the precision one reads."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 1000):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4f}"


def show_pairs(title: str, pairs: Sequence[tuple[str, Any]]) -> None:
    """Print names and values."""
    table = Table(title=title, title_style="bold", title_justify="left", show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="left", overflow="fold")
    for name, value in pairs:
        table.add_row(Text(name), Text(figure(value)))
    console.print(table)
