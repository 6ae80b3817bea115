"""File of a sparse code: one safetensors file, tokens included."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from crosscoder.core.sparse.index import Index
from crosscoder.core.types import Entries, Tokens
from crosscoder.errors import UserError, first_line
from crosscoder.io.schema import parse_json
from crosscoder.io.tensors import FLOATS, read_tensors_and_metadata, require_tensor, write_tensors

LARGEST_SIZE = 2**31  # most tokens or latents of a code that is read
TOKEN_COLUMNS = ("ids", "position", "document", "kind")


class CodeContent(NamedTuple):
    """Content of a file of a sparse code."""

    index: Index
    values: Entries
    tokens: Tokens | None
    strings: list[str] | None


def write_code(path: str | Path, content: CodeContent) -> None:
    """Write a sparse code with its tokens, if it has any."""
    index = content.index
    tensors = {
        "rows": index.rows,
        "latents": index.latents,
        "values": content.values.detach(),
    }
    if content.tokens is not None:
        for name, column in content.tokens.tensors().items():
            tensors[f"tokens.{name}"] = column
    metadata = {"batch": str(index.batch), "n_latents": str(index.n_latents)}
    if content.strings is not None:
        metadata["strings"] = json.dumps(content.strings)
    write_tensors(path, tensors, metadata)


def read_code(path: str | Path) -> CodeContent:
    """Read what `write_code` wrote.

    Raises:
        UserError: The file is missing, or it holds no sparse code.
    """
    try:
        tensors, metadata = read_tensors_and_metadata(path)
        batch = _read_size(metadata, "batch")
        n_latents = _read_size(metadata, "n_latents")
        index = _read_index(tensors["rows"], tensors["latents"], batch, n_latents)
        values = tensors["values"]
        if values.shape != index.rows.shape or values.dtype not in FLOATS:
            raise ValueError(
                f"expected one floating-point value for each of {len(index)} entries, "
                f"found {values.dtype} of shape {list(values.shape)}"
            )
        tokens = _read_tokens(path, tensors, batch)
        return CodeContent(index, values, tokens, _read_strings(metadata, batch))
    except (UserError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"no code at {path}: {first_line(error)}") from error


def _read_size(metadata: Mapping[str, str], name: str) -> int:
    """Return a size from a file's metadata, bounded because memory is made for it."""
    return parse_json(metadata[name], Annotated[int, Field(ge=0, lt=LARGEST_SIZE)], name)


def _read_index(rows: Tensor, latents: Tensor, batch: int, n_latents: int) -> Index:
    """Return a file's index; kernels rely on its order and its range."""
    for entries, size in ((rows, batch), (latents, n_latents)):
        if entries.dtype != torch.int64 or entries.shape != (len(rows),):
            raise ValueError("rows and latents must be int64 vectors of equal length")
        if len(entries) and not 0 <= entries.min() <= entries.max() < size:
            low = int(entries.min())
            outside = low if low < 0 else int(entries.max())
            raise ValueError(f"index {outside} is out of range [0, {size})")
    if (rows.diff() < 0).any():
        raise ValueError("rows must not fall")
    return Index(rows, latents, batch, n_latents)


def _read_tokens(path: str | Path, tensors: Mapping[str, Tensor], batch: int) -> Tokens | None:
    """Return the tokens that a file holds with its code, or None."""
    if not any(name.startswith("tokens.") for name in tensors):
        return None
    columns = {}
    for name in TOKEN_COLUMNS:
        columns[name] = require_tensor(path, tensors, f"tokens.{name}", [batch], [torch.int64])
    return Tokens(**columns)


def _read_strings(metadata: Mapping[str, str], batch: int) -> list[str] | None:
    """Return the text of each token, or None if the file has none."""
    if "strings" not in metadata:
        return None
    strings = parse_json(metadata["strings"], list[str], "strings")
    if len(strings) != batch:
        raise ValueError(f"expected one string per token, found {len(strings)} for {batch} tokens")
    return strings
