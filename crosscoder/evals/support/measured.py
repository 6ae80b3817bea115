"""Columns of `latents.parquet` that an eval measures for some latents only.

An eval puts them into its result as the table `measured latents`: rows with `latent` and one
number or text per column. Whenever a result is saved, they are added to `latents.parquet`, so that
neither the order of the evals nor a new table of latents loses them. A latent that was not measured
has NaN, or an empty text.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from crosscoder.analysis.table import LatentTable
from crosscoder.errors import UserError
from crosscoder.evals.base import Result

TABLE = "measured latents"


def join_measured_columns(folder: Path) -> None:
    """Add the measured columns of all results in a folder to its `latents.parquet`.

    Results of another crosscoder are left out. Nothing happens without a `latents.parquet`.
    """
    path = folder / "latents.parquet"
    if not path.is_file():
        return
    table = LatentTable.load(path)
    joined = table
    for result in _load_results(folder):
        if result.meta.get("crosscoder_sha256") == table.meta.get("crosscoder_sha256"):
            joined = add_measured_columns(joined, result.tables.get(TABLE, []))
    if joined is not table:
        joined.save(path)


def add_measured_columns(table: LatentTable, rows: list[dict[str, Any]]) -> LatentTable:
    """Return the table with the columns of these rows.

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
    return table.with_columns(columns) if columns else table


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
