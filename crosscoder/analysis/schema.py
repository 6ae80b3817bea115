"""The schema of a table's file, which may come from anywhere.

A column holds whole numbers, numbers, truth values, texts, or lists of numbers or of texts. Texts
and whole numbers are never missing. A column that is described (descriptions.py) has the kind that
stands there; a table may have other columns, too.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field
from typing_extensions import TypedDict

from crosscoder.analysis.descriptions import known_kinds
from crosscoder.analysis.kinds import EMPTY, NUMBER, NUMBERS, TEXT, TEXTS, TRUTH, WHOLE
from crosscoder.errors import UserError
from crosscoder.io.schema import Object, Whole

MAX_ROWS = 2**26
# kinds that are accepted where another is expected
ACCEPTED = {NUMBER: (NUMBER, WHOLE, TRUTH), TEXTS: (TEXTS, EMPTY), NUMBERS: (NUMBERS, EMPTY)}
# kinds of known columns, by the name up to its first `/`
KNOWN_KINDS = known_kinds()
CONTEXT_KINDS = {
    "latent": WHOLE,
    "group": TEXT,
    "kind": TEXT,
    "document": WHOLE,
    "position": WHOLE,
    "peak": WHOLE,
    "tokens": TEXTS,
    "activations": NUMBERS,
}


class TableMeta(TypedDict, total=False):
    """Metadata of a table; each entry may be missing, and there may be others."""

    sources: list[str]
    contrast: Annotated[list[str], Field(min_length=2, max_length=2)] | None
    hookpoints: dict[str, str]
    n_tokens: Whole
    units: str
    rule: Object | None
    calibration: Object | None
    crosscoder_sha256: str | None


def require_known_kinds(path: Path, table: pa.Table) -> None:
    """Check that every column has one of the kinds above, and its own name.

    Raises:
        UserError: A column holds something else; the message names it.
    """
    if len(set(table.column_names)) < len(table.column_names):
        raise UserError(f"{path} has two columns of one name")
    for name, column in zip(table.column_names, table.columns, strict=True):
        where = f"{path}: column {ascii(name)[:60]}"
        kind = _find_kind(column.type)
        if kind is None and table.num_rows:  # an empty column has no kind
            raise UserError(f"{where} holds {column.type}, which no column of a table does")
        if kind != NUMBER and column.null_count:
            raise UserError(f"{where} has rows without a value")
        if kind in (TEXTS, NUMBERS) and any(chunk.flatten().null_count for chunk in column.chunks):
            raise UserError(f"{where} has lists with missing values")


def require_latents(path: Path, table: pa.Table) -> None:
    """Check that a table has one row per latent, and the right kind in every known column."""
    _require_kinds(path, table, {"latent": WHOLE})
    kinds = {}
    for name in table.column_names:
        metric = name.partition("/")[0]
        if metric in KNOWN_KINDS:
            kinds[name] = KNOWN_KINDS[metric]
    _require_kinds(path, table, kinds)
    latents = table["latent"].to_numpy()
    if len(latents) and (latents.min() < 0 or len(np.unique(latents)) < len(latents)):
        raise UserError(f"{path}: expected different numbers from 0 in the column 'latent'")


def require_contexts(path: Path, frame: pd.DataFrame, table: pa.Table) -> None:
    """Check that the rows of a table are examples of latents, with an activation per token."""
    _require_kinds(path, table, CONTEXT_KINDS)
    if np.any(frame["latent"].to_numpy() < 0):
        raise UserError(f"{path}: expected numbers from 0 in the column 'latent'")
    lengths = np.array([len(tokens) for tokens in frame["tokens"]], dtype=np.int64)
    if not np.array_equal(lengths, [len(values) for values in frame["activations"]]):
        raise UserError(f"{path}: expected as many activations as tokens in every row")
    peak = frame["peak"].to_numpy()
    if np.any(peak < 0) or np.any(peak >= lengths):
        raise UserError(f"{path}: expected every peak to be the place of one of its tokens")
    values = np.concatenate([np.zeros(1), *frame["activations"]])
    is_finite = np.abs(values) < np.finfo(np.float32).max  # False for NaN
    if not is_finite.all():
        raise UserError(f"{path}: found an activation that is not finite")


def _require_kinds(path: Path, table: pa.Table, kinds: Mapping[str, str]) -> None:
    for name, expected in kinds.items():
        if name not in table.column_names:
            raise UserError(f"{path} has no column '{name}'")
        found = _find_kind(table.schema.field(name).type)
        if table.num_rows and found not in ACCEPTED.get(expected, (expected,)):
            raise UserError(f"{path}: column {ascii(name)[:60]} holds {found}, not {expected}")


def _find_kind(dtype: pa.DataType) -> str | None:
    """Return the kind of a column of this type; None for a type that no column has."""
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        if pa.types.is_null(dtype.value_type):
            return EMPTY
        list_kinds = {TEXT: TEXTS, NUMBER: NUMBERS, WHOLE: NUMBERS}
        return list_kinds.get(_find_kind(dtype.value_type) or "")
    if pa.types.is_boolean(dtype):
        return TRUTH
    if pa.types.is_integer(dtype):
        return WHOLE
    if pa.types.is_floating(dtype):
        return NUMBER
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return TEXT
    return None
