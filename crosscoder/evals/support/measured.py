"""Columns of `latents.parquet` that an eval measures for some latents only.

An eval puts them into its result as the table `measured latents`: rows with `latent` and one
number or text per column. Whenever such a result or a new `latents.parquet` is saved, they are
added to the file, so that neither the order of the evals nor the new table loses them. A latent
that was not measured has NaN, or an empty text.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from crosscoder.analysis.table import LatentTable
from crosscoder.errors import UserError
from crosscoder.evals.base import Result

TABLE = "measured latents"
FILE = "latents.parquet"


def needs_join(result: Result) -> bool:
    """Return whether a saved result measured columns, or brought a new `latents.parquet`."""
    return TABLE in result.tables or FILE in result.files


def join_measured_columns(folder: Path) -> None:
    """Add the measured columns of all results in a folder to its `latents.parquet`.

    Results of another crosscoder are left out. Nothing is written without a `latents.parquet`, nor
    if it has the columns already.
    """
    path = folder / FILE
    if not path.is_file():
        return
    table = LatentTable.load(path)
    columns: dict[str, np.ndarray] = {}
    for result in _load_results(folder):
        if result.meta.get("crosscoder_sha256") == table.meta.get("crosscoder_sha256"):
            columns |= make_measured_columns(table, result.tables.get(TABLE, []))
    if any(_is_changed(table, name, column) for name, column in columns.items()):
        table.with_columns(columns).save(path)


def make_measured_columns(table: LatentTable, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return the columns of these rows, one value per latent of the table.

    Args:
        table: Table of latents.
        rows: For each measured latent `latent` and a number or text per column.
    """
    place = {int(latent): row for row, latent in enumerate(table["latent"])}
    columns: dict[str, np.ndarray] = {}
    for row in rows:
        for name, value in row.items():
            if name == "latent" or row["latent"] not in place:
                continue
            if name not in columns:
                columns[name] = _make_column(len(table), value)
            columns[name][place[row["latent"]]] = np.nan if value is None else value
    return columns


def _is_changed(table: LatentTable, name: str, column: np.ndarray) -> bool:
    """Return whether a table lacks a column, or has other values there."""
    if name not in table.columns:
        return True
    has_nan = column.dtype != object
    return not np.array_equal(table[name], column, equal_nan=has_nan)


def _make_column(n: int, value: Any) -> np.ndarray:
    """Return a column without any measured value, of the type of one value."""
    if isinstance(value, str):
        return np.full(n, "", dtype=object)
    return np.full(n, np.nan)


def _load_results(folder: Path) -> Iterator[Result]:
    for path in sorted(folder.glob("*.json")):
        try:
            yield Result.load(path)
        except UserError:  # a file that is no result has no columns
            continue
