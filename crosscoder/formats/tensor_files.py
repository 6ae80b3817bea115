"""Read the tensors of a `.safetensors`, `.npz` or torch file without running anything in it.

A file that needs more memory than the machine has is refused, whatever its header says: zeros
compress a thousandfold, and a tensor may repeat a single stored number.
"""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from crosscoder.formats.settings import format_value
from crosscoder.io.tensors import scan_shapes

GIB = 2**30


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Read names and shapes of a file's tensors; of `.safetensors` the header alone is read."""
    if path.suffix == ".safetensors":
        return scan_shapes(path)
    content = torch.load(path, map_location="meta", weights_only=True)
    if not isinstance(content, dict):
        raise ValueError("expected a dictionary of tensors by name")
    return {
        _strip_prefix(name): list(value.shape)
        for name, value in content.items()
        if isinstance(value, Tensor)
    }


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a `.safetensors` file."""
    _require_memory(path.stat().st_size)
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def read_npz(path: Path) -> dict[str, Tensor]:
    """Read every array of a `.npz` file."""
    with path.open("rb") as opened, zipfile.ZipFile(opened) as archive:
        _require_memory(sum(member.file_size for member in archive.infolist()))
    # numpy leaves a bad file open when it opens the path itself
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return {name: torch.from_numpy(np.ascontiguousarray(file[name])) for name in file.files}


def read_torch(path: Path) -> dict[str, Any]:
    """Read a torch file of tensors by name; mappings of plain numbers among them stay as they are.

    A checkpoint with the optimizer's state is refused: its training is not finished.
    """
    _require_memory(path.stat().st_size)
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise ValueError("expected a dictionary of tensors by name")
    if "optimizer" in content:
        raise ValueError(
            "it is a checkpoint to resume training from: "
            "the biases of an interrupted run are not final"
        )
    tensors = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            _require_plain(str(name), value)
            tensors[_strip_prefix(name)] = value.detach().contiguous()
        elif _is_number_mapping(value):
            tensors[_strip_prefix(name)] = value
        else:
            raise ValueError(f"it holds more than tensors by name: {format_value(name)}")
    return tensors


READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".safetensors": read_safetensors,
    ".npz": read_npz,
    ".pt": read_torch,
    ".pth": read_torch,
}


def _strip_prefix(name: Any) -> str:
    """Remove the prefix that torch.compile adds to every name."""
    return str(name).removeprefix("_orig_mod.")


def _is_number_mapping(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return all(type(number) in (int, float) for number in value.values())


def _require_plain(name: str, tensor: Tensor) -> None:
    if tensor.is_meta or tensor.is_quantized or tensor.is_nested or tensor.layout != torch.strided:
        raise ValueError(f"{name!r} is not a plain dense tensor")
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise ValueError(f"{name!r} is larger than the numbers that the file holds for it")


def _require_memory(size: int) -> None:
    """Refuse files that do not fit into memory before anything of them is read."""
    if "SC_PHYS_PAGES" not in os.sysconf_names:  # unknown on some systems
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise ValueError(
            f"its tensors need {size / GIB:.1f} GiB, "
            f"and this machine has {memory / GIB:.1f} GiB of memory"
        )
