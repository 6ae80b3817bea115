"""Tables of documents: .csv, .tsv and .parquet files, read a few rows at a time."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crosscoder.data.corpora.json_files import FoundRow
from crosscoder.data.corpora.opening import (
    BROKEN,
    CONVERT,
    NOT_UTF8,
    decode_text,
    open_bytes,
    require_utf8,
)
from crosscoder.data.corpora.rows import show_names
from crosscoder.errors import UserError, first_line
from crosscoder.io.files import require_regular
from crosscoder.io.jsonl import LONGEST

PARQUET_ROWS = 256  # in memory together
DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_csv(path: str | Path, column: str, delimiter: str) -> Iterator[FoundRow]:
    """Read the rows of a file whose first line names the columns.

    A cell may hold line breaks in quotes. A chat is written as JSON: a cell of `column` that begins
    with `[{` is a list of messages.

    Raises:
        UserError: A quote is not closed, a line is too long, or two columns have that name.
    """
    csv.field_size_limit(LONGEST)  # the module's own limit is 128 KiB
    with open_bytes(path) as file:
        require_utf8(file, path)
        with decode_text(file) as text:
            rows = csv.reader(_read_lines(text, path), delimiter=delimiter, strict=True)
            yield from _read_csv_rows(rows, path, column)


def _read_csv_rows(rows: Any, path: str | Path, column: str) -> Iterator[FoundRow]:
    """Yield the rows below the header; skip blank lines."""
    header: list[str] = []
    while True:
        where = f"{path}, line {rows.line_num + 1}"
        cells = _read_cells(rows, where)
        if cells is None:
            return
        if not cells:
            continue
        if header:
            yield _make_found_row(header, cells, column, where)
            continue
        header = cells
        n_columns = header.count(column)
        if n_columns > 1:
            raise UserError(f"{path} has {n_columns} columns '{column}': give them different names")


def _read_cells(rows: Any, where: str) -> list[str] | None:
    """Read the next row; None at the end."""
    try:
        return next(rows, None)
    except csv.Error as error:
        raise UserError(
            f"{where}: not a row that can be read ({error}): check that its quotes are closed"
        ) from error


def _make_found_row(header: list[str], cells: list[str], column: str, where: str) -> FoundRow:
    if len(cells) != len(header):
        return where, None, f"it has {len(cells)} cells, but the first line {len(header)}"
    row: dict[str, Any] = dict(zip(header, cells, strict=True))
    reason = ""
    if column in row:
        row[column], reason = _parse_cell(row[column])
    return where, row, reason


def _read_lines(text: io.TextIOBase, path: str | Path) -> Iterator[str]:
    """Yield the lines of a file; a line that is too long is refused before it fills the memory."""
    number = 0
    while line := text.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise UserError(
                f"{path}, line {number}: longer than {LONGEST:,} characters, "
                "which is not a row of a table"
            )
        yield line


def _parse_cell(cell: str) -> tuple[Any, str]:
    """Return the text or the chat (JSON) in a cell, and the reason if it has none."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        return None, f"{NOT_UTF8}: {CONVERT}"
    if not cell.startswith("[{"):
        return cell, ""
    try:
        return json.loads(cell), ""
    except (ValueError, RecursionError):
        reason = "it begins like a chat, but is not JSON: write chats as JSON, e.g. with json.dumps"
        return None, reason


def read_parquet(path: str | Path, column: str) -> Iterator[FoundRow]:
    """Read one column of a parquet file.

    Raises:
        UserError: The file cannot be read, or lacks the column.
    """
    require_regular(path)
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise UserError(f"{path} has no column '{column}'; it has {show_names(names)}")
            for batch in file.iter_batches(PARQUET_ROWS, columns=[column]):
                for cell in batch.column(0):
                    number += 1
                    yield _take_cell(cell, column, f"{path}, row {number}")
    except BROKEN as error:
        after = f" after row {number}" if number else ""
        raise UserError(f"cannot read {path}{after}: {first_line(error)}") from error


def _take_cell(cell: pa.Scalar, column: str, where: str) -> FoundRow:
    try:
        return where, {column: cell.as_py()}, ""
    except UnicodeDecodeError as error:
        return where, None, f"{NOT_UTF8} (byte {error.start + 1})"
