"""JSON lines of the export, each checked against its schema; batches are compressed."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crosscoder.io.schema import check_content

BATCH_SIZE = 1024  # latents of a batch, as in Neuronpedia's own exports


def write_row(path: Path, row: Mapping[str, Any], schema: Any) -> None:
    """Write a file with one row.

    Raises:
        UserError: The row does not fit its schema.
    """
    path.write_bytes(_encode(row, schema, path.name))


def write_batch(folder: Path, number: int, rows: Iterable[Mapping[str, Any]], schema: Any) -> int:
    """Write batch-NUMBER.jsonl.gz and return its number of rows.

    Without rows there is no file, since the import cannot read an empty one.

    Raises:
        UserError: A row does not fit its schema.
    """
    lines = [_encode(row, schema, f"{folder.name}, row {i}") for i, row in enumerate(rows)]
    if lines:
        folder.mkdir(exist_ok=True)
        path = folder / f"batch-{number}.jsonl.gz"
        # without a time, the same rows are the same file
        path.write_bytes(gzip.compress(b"".join(lines), compresslevel=5, mtime=0))
    return len(lines)


def list_batches(n_latents: int) -> list[range]:
    """Divide latents into batches."""
    starts = range(0, n_latents, BATCH_SIZE)
    return [range(start, min(start + BATCH_SIZE, n_latents)) for start in starts]


def _encode(row: Mapping[str, Any], schema: Any, where: str) -> bytes:
    checked = check_content(dict(row), schema, where)
    return json.dumps(checked, allow_nan=False).encode() + b"\n"
