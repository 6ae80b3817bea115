"""Tensors by name in safetensors files.

Files are written whole or not at all, and checked when they are read: they may come from anywhere.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from crosscoder.errors import UserError, first_line, translate_read_errors
from crosscoder.io.files import atomic_write, require_regular

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# all that the library raises for a damaged file
LIBRARY_ERRORS = (
    SafetensorError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    MemoryError,
)


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file whole or not at all, with the permissions of the umask."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(on_cpu, temporary, metadata)


def read_tensors(path: str | Path, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Args:
        path: The file.
        names: Names of the tensors to read, as far as they exist. None: all.

    Raises:
        UserError: The file is not a safetensors file, or it is damaged.
    """
    return read_tensors_and_metadata(path, names)[0]


def read_tensors_and_metadata(
    path: str | Path, names: Collection[str] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors as `read_tensors` does, and the metadata of the file."""
    require_regular(path)
    try:
        with translate_read_errors(path), safe_open(path, "pt") as file:
            found = file.keys()  # a list; the file is no mapping
            wanted = [name for name in found if names is None or name in names]
            tensors = {name: file.get_tensor(name) for name in wanted}
            return tensors, file.metadata() or {}
    except LIBRARY_ERRORS as error:
        raise UserError(f"{path} cannot be read: {first_line(error)[:200]}") from error


def read_shapes(path: str | Path) -> dict[str, list[int]]:
    """Read the shapes of a file's tensors by name, without their values.

    Raises:
        UserError: As `read_tensors`.
    """
    require_regular(path)
    try:
        with translate_read_errors(path):
            return scan_shapes(path)
    except LIBRARY_ERRORS as error:
        raise UserError(f"{path} cannot be read: {first_line(error)[:200]}") from error


def scan_shapes(path: str | Path) -> dict[str, list[int]]:
    """Read the shapes of a file's tensors from its header; let the errors of safetensors pass."""
    with safe_open(path, "pt") as file:
        names = file.keys()  # a list; the file is no mapping
        return {name: list(file.get_slice(name).get_shape()) for name in names}


def require_tensor(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    name: str,
    shape: Sequence[int],
    dtypes: Collection[torch.dtype],
) -> Tensor:
    """Return a tensor of a file after checking its shape and its type.

    Args:
        path: The file, for messages.
        tensors: Tensors of the file.
        name: Name of the tensor.
        shape: Expected shape.
        dtypes: Allowed types.

    Raises:
        UserError: The tensor is missing, or has another shape or type.
    """
    if name not in tensors:
        raise UserError(f"{path} lacks the tensor '{name}'")
    tensor = tensors[name]
    if tensor.dtype not in dtypes or list(tensor.shape) != list(shape):
        expected = " or ".join(map(_describe, dtypes))
        raise UserError(
            f"{path}: '{name}' is {_describe(tensor.dtype)} of shape {list(tensor.shape)}, "
            f"not {expected} of shape {list(shape)}"
        )
    return tensor


def _describe(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
