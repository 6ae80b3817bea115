"""Names of shards, and checks of their content: tensors of the types and sizes in meta.json."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from crosscoder.core.types import Kind, Tokens
from crosscoder.errors import UserError
from crosscoder.io.tensors import FLOATS, read_shapes, require_tensor

TOKEN_COLUMNS = ("ids", "position", "document", "kind")
# values of a column are below these
LIMITS = {"ids": 2**31, "position": 2**31, "document": 2**62, "kind": len(Kind.NAMES)}


def make_shard_name(shard: int, column: str) -> str:
    """Return the file name of a shard, e.g. `00003.chat.safetensors`."""
    return f"{shard:05d}.{column}.safetensors"


def require_sizes(path: Path, n: int, width: int | None) -> None:
    """Refuse a file of another size; only its header is read.

    Args:
        path: The shard's file.
        n: Expected number of tokens.
        width: Expected width of the source; None for the file of the tokens.

    Raises:
        UserError: The shape is another one.
    """
    name = "ids" if width is None else "acts"
    expected = [n] if width is None else [n, width]
    shape = read_shapes(path).get(name)
    if shape != expected:
        raise UserError(f"{path}: '{name}' has shape {shape}, but the store says {expected}")


def require_shard(path: Path, tensors: Mapping[str, Tensor], n: int, width: int | None) -> None:
    """Refuse tensors that are not those of a shard; arguments as in `require_sizes`."""
    if width is None:
        _require_tokens(path, tensors, n)
    elif "token" in tensors:  # 8-bit integers, see quantization.py
        require_tensor(path, tensors, "acts", [n, width], [torch.int8])
        require_tensor(path, tensors, "token", [n], FLOATS)
        require_tensor(path, tensors, "dimension", [width], FLOATS)
        require_tensor(path, tensors, "centre", [width], FLOATS)
    else:
        require_tensor(path, tensors, "acts", [n, width], FLOATS)


def make_tokens(tensors: Mapping[str, Tensor]) -> Tokens:
    """Make tokens from the columns in a shard's file."""
    return Tokens(**{name: tensors[name] for name in TOKEN_COLUMNS})


def _require_tokens(path: Path, tensors: Mapping[str, Tensor], n: int) -> None:
    for name in TOKEN_COLUMNS:
        column = require_tensor(path, tensors, name, [n], [torch.int64])
        low, high = column.aminmax()
        if low < 0 or high >= LIMITS[name]:
            raise UserError(
                f"{path}: expected '{name}' from 0 to {LIMITS[name] - 1}, "
                f"found {int(low)} to {int(high)}"
            )
