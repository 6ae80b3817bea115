"""Parquet files of tables, with metadata as JSON beside the columns.

A file may come from anywhere, so its content is checked before it is used.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crosscoder.analysis.schema import (
    MAX_ROWS,
    TableMeta,
    require_contexts,
    require_known_kinds,
    require_latents,
)
from crosscoder.errors import UserError, first_line, translate_read_errors
from crosscoder.io.files import atomic_write, make_folders, require_regular
from crosscoder.io.results import META_KEY
from crosscoder.io.run_dir import replace_nonfinite
from crosscoder.io.schema import Object, check_content, parse_json
from crosscoder.renamed import rename_columns

# pyarrow raises any of these for a file with invalid content
READ_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    MemoryError,
    pa.ArrowException,
)


def save_parquet(frame: pd.DataFrame, path: str | Path, meta: Mapping[str, Any]) -> Path:
    """Write a frame and its metadata as one file, whole or not at all."""
    path = Path(path)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    text = json.dumps(replace_nonfinite(meta), allow_nan=False)
    metadata = {**(table.schema.metadata or {}), META_KEY: text.encode()}
    table = table.replace_schema_metadata(metadata)
    make_folders(path.parent)
    with atomic_write(path) as aside:
        pq.write_table(table, aside)
    return path


def load_latents(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a table with one row per latent, and its metadata.

    Raises:
        UserError: The file is missing, or is no such table.
    """
    path = Path(path)
    table, meta = _read(path)
    table = table.rename_columns(rename_columns(table.column_names))
    require_latents(path, table)
    return _to_frame(path, table), meta


def load_contexts(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read the examples of latents that `Contexts.frame` returned, and their metadata.

    Raises:
        UserError: The file is missing, or holds something else.
    """
    path = Path(path)
    table, meta = _read(path)
    frame = _to_frame(path, table)
    require_contexts(path, frame, table)
    return frame, meta


def _read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    require_regular(path)
    try:
        # opened as one file, so that a folder named like k=3 does not become a column
        with translate_read_errors(path), pq.ParquetFile(path) as file:
            n_rows = file.metadata.num_rows
            if n_rows > MAX_ROWS:
                raise UserError(f"{path} has {n_rows:,} rows; at most {MAX_ROWS:,} are read")
            table = file.read()
            meta_text = (file.schema_arrow.metadata or {}).get(META_KEY)
    except READ_ERRORS as error:
        raise UserError(f"no table at {path}: {first_line(error)[:200]}") from error
    if meta_text is None:
        raise UserError(f"no table at {path}: the file has no metadata of crosscoder")
    require_known_kinds(path, table)
    meta = parse_json(meta_text, Object, f"{path}, metadata")
    check_content(meta, TableMeta, f"{path}, metadata")
    return table, meta


def _to_frame(path: Path, table: pa.Table) -> pd.DataFrame:
    try:
        # pandas' own metadata in the file may be anything, and is not needed
        return table.to_pandas(ignore_metadata=True)
    except READ_ERRORS as error:  # e.g. bytes that are not UTF-8
        raise UserError(f"no table at {path}: {first_line(error)[:200]}") from error
