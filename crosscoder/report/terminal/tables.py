"""Print results as tables on the terminal."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from crosscoder.analysis.calibration import read_fdr
from crosscoder.evals import Result
from crosscoder.evals.support.measured import TABLE as MEASURED
from crosscoder.report.terminal.fitting import Part, fit_columns
from crosscoder.terminal.console import TextConsole
from crosscoder.terminal.escapes import escape_controls
from crosscoder.terminal.pairs import print_pairs
from crosscoder.terminal.words import print_words

console = TextConsole()
MAX_SOURCES = 5  # columns of a table of scalars
N_PRINTED_ANSWERS = 2
# last words of columns that number something
IDENTIFIERS = ("latent", "twin", "token", "id", "document", "position", "seed", "layer", "year")
METHODS = "methods"  # table of the eval methods, one row per method
EVIDENCE = "evidence"  # table of the same eval, of which the first piece of each method is printed
NO_SOURCE = "all"  # column of scalars without a source


def show(title: str, rows: Iterable[Mapping[str, Any]], caption: str | None = None) -> None:
    """Print rows as a table; their keys are its columns.

    A table that is wider than the terminal is divided; if even that is too wide, each row is
    printed as names and values.
    """
    rows = list(rows)
    names = list_columns(rows)
    columns = []
    for name in names:
        cells = [format_cell(name, row.get(name, "")) for row in rows]
        columns.append([escape_controls(text) for text in (str(name), *cells)])
    parts = fit_columns(columns, console.width)
    if parts is None:
        for number, row in enumerate(rows, start=1):
            show_pairs(f"{title}, {number} of {len(rows)}", list(row.items()))
    else:
        print_words(console, title, "bold")
        for part in parts:
            _print_part(columns, part)
    if caption:
        print_words(console, caption, "dim italic")


def _print_part(columns: Sequence[Sequence[str]], part: Part) -> None:
    """Print some columns of a table side by side."""
    table = Table()
    for number, width in zip(part.columns, part.widths, strict=True):
        header = columns[number][0]
        justify = "left" if number == 0 else "right"
        table.add_column(header, justify=justify, width=width, overflow="fold")
    cells = [columns[number][1:] for number in part.columns]
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    console.print(table)


def show_pairs(title: str, pairs: Sequence[tuple[str, Any]], is_whole: bool = False) -> None:
    """Print names and values; with `is_whole` each value on one line, however long."""
    texts = [(str(name), format_cell(name, value)) for name, value in pairs]
    print_pairs(console, title, texts, is_whole)


def show_result(result: Result, title: str | None = None) -> None:
    """Print an eval's scalars and its tables."""
    coverage = format_coverage(result.meta)
    scalars = result.scalars
    if METHODS in result.tables:  # its rows have the scalars of the methods as columns
        names = {row.get("method") for row in result.tables[METHODS]}
        scalars = {key: value for key, value in scalars.items() if key.split("/")[-1] not in names}
    show(title or result.name, group_by_source(scalars), coverage or None)
    for name, rows in list_tables(result).items():
        if name == "answers":
            show_answers(result)
        elif name == EVIDENCE:
            first = [row for row in rows if row.get("rank") == 1]
            show(f"{result.name}: the first piece of each method", first)
        else:
            show(f"{result.name}: {name}", rows)


def list_tables(result: Result) -> dict[str, list[dict[str, Any]]]:
    """Return the tables to show: those with rows, except the columns of `latents.parquet`."""
    return {name: rows for name, rows in result.tables.items() if rows and name != MEASURED}


def show_answers(result: Result, n: int = N_PRINTED_ANSWERS) -> None:
    """Print the first `n` rows of an eval's answers, one line per column."""
    rows = result.tables["answers"]
    title = f"{result.name}: answers, the first {min(n, len(rows))} of {len(rows):,} rows"
    for row in rows[:n]:
        show_pairs(title, list(row.items()))
        title = ""


def list_columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """List the keys of all rows, in order of first occurrence."""
    return list(dict.fromkeys(name for row in rows for name in row))


def group_by_source(scalars: Mapping[str, float]) -> list[dict[str, Any]]:
    """Turn flat keys `metric/source` into one row per metric and one column per source.

    Keys without a source are in a last column `all`. With more than a handful of sources the
    columns would not be comparable: the result then has one row per key.
    """
    sources = list(dict.fromkeys(key.partition("/")[2] or NO_SOURCE for key in scalars))
    if len(sources) > MAX_SOURCES:
        return [{"": key, "value": value} for key, value in scalars.items()]
    if NO_SOURCE in sources:
        sources.remove(NO_SOURCE)
        sources.append(NO_SOURCE)
    rows: dict[str, dict[str, Any]] = {}
    for key, value in scalars.items():
        metric, _, source = key.partition("/")
        row = rows.setdefault(metric, {"": metric, **dict.fromkeys(sources, "")})
        row[source or NO_SOURCE] = value
    return list(rows.values())


def format_coverage(meta: Mapping[str, Any]) -> str:
    """Describe the size and the duration of an eval, as far as its result has them."""
    tokens = "tokens" if "n_answers" in meta else "held-out tokens"
    units = {"n_questions": "questions", "n_answers": "answers", "n_tokens": tokens}
    texts = []
    for key, unit in units.items():
        if meta.get(key) is not None:
            texts.append(f"{format_figure(meta[key])} {unit}")
    fdr = read_fdr(meta)
    if fdr is not None:
        texts.append(f"verdict at a false-discovery rate of {fdr:g}")
    elif meta.get("rule"):
        texts.append("verdict not calibrated")
    seconds = meta.get("seconds")
    if isinstance(seconds, int | float):
        texts.append(f"{seconds:.0f} s")
    return ", ".join(texts)


def format_cell(name: str, value: Any) -> str:
    """Format a value of a column. An identifier has no thousands separators."""
    *_, last_word = re.split(r"[\s_./]", name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if last_word in IDENTIFIERS and is_number and value == value // 1:
        return str(int(value))
    return format_figure(value)


def format_figure(value: Any) -> str:
    """Format a value for a table: numbers with readable precision, NaN and None as a dash."""
    if value is None or value != value:  # NaN differs from itself
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 1000):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4f}"
