"""Check files of weights by their headers before anything is loaded.

They must be whole safetensors files, and hold what their index says.

model.safetensors                     or
model.safetensors.index.json          {"weight_map": {tensor: shard}}, with the shards beside it
"""

import math
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel
from torch import nn

from crosscoder.errors import UserError, describe_foreign
from crosscoder.io.files import require_regular
from crosscoder.io.lfs import LFS_START, is_lfs_pointer
from crosscoder.io.schema import read_json
from crosscoder.io.tensors import scan_shapes

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
# how other files begin that are found under this name
BEGINNINGS = {
    b"<": "a web page, not weights: download it again",
    b"PK": "a pickle of torch.save, which is not loaded: save the model with save_pretrained",
    b"\x80": "a pickle, which is not loaded: save the model with save_pretrained",
    b"GGUF": "a GGUF file, which is not loaded: save the model with save_pretrained",
}
SPARE = 2**27  # numbers that fit in any memory
PICKLES = ("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.ckpt")

Shapes = Mapping[str, list[int]]


class Index(BaseModel):
    """An index of shards."""

    weight_map: dict[str, str]


def read_shapes(path: Path) -> Shapes:
    """Read the shape of every tensor in a safetensors file, which must be whole.

    Raises:
        UserError: The file is of another kind, or damaged.
    """
    require_regular(path)
    try:
        return scan_shapes(path)
    except Exception as error:  # safetensors and the system raise errors of several kinds
        raise UserError(f"{path} is {_tell_kind(path, error)}") from error


def _tell_kind(path: Path, error: Exception) -> str:
    """Describe a file that is not a whole safetensors file, by its first bytes."""
    with path.open("rb") as file:
        beginning = file.read(len(LFS_START))
    if not beginning:
        return "empty: get it again"
    if is_lfs_pointer(beginning):
        return "a Git LFS pointer, not the weights themselves: fetch them with git lfs pull"
    for prefix, kind in BEGINNINGS.items():
        if beginning.startswith(prefix):
            return kind
    return f"truncated or damaged ({describe_foreign(error)}): get it again"


def find_weights(folder: Path) -> list[Path]:
    """Find the files of weights of a model folder, in the order of their names.

    Raises:
        UserError: There are none, or the index names files that are not beside it.
    """
    if (folder / WHOLE).exists():
        return [folder / WHOLE]
    if (folder / INDEX).exists():
        return _find_shards(folder)
    refuse_adapter_folder(folder)
    for pattern in PICKLES:
        found = sorted(folder.glob(pattern))
        if found:
            raise UserError(
                f"{folder} has weights only as a pickle ({found[0].name}), and pickles are not "
                "loaded: save the model again with save_pretrained, which writes safetensors"
            )
    raise UserError(f"{folder} has no weights: neither {WHOLE} nor {INDEX} is there")


def refuse_adapter_folder(folder: Path) -> None:
    """Refuse a folder that holds an adapter where a model is expected.

    Raises:
        UserError: The folder has an adapter_config.json.
    """
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{folder} holds an adapter, not a model: "
            "pass it as adapter=, and its base model as weights="
        )


def _find_shards(folder: Path) -> list[Path]:
    index = read_json(folder / INDEX, Index)
    names = sorted(set(index.weight_map.values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(
                f"{folder / INDEX} names {name!r}, which is not a safetensors file in its folder"
            )
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"{folder / INDEX} names {missing[0]}{more}, not in the folder: "
            "download the whole model again"
        )
    if not names:
        raise UserError(f"{folder / INDEX} names no weights")
    return [folder / name for name in names]


def read_checkpoint(folder: Path) -> Shapes:
    """Read the shape of every tensor of a model folder, and compare its files with its index.

    Raises:
        UserError: A file is missing, damaged or of another kind, or does not hold what the index
            says.
    """
    files = find_weights(folder)
    by_file = {file.name: read_shapes(file) for file in files}
    if files[0].name != WHOLE:
        _require_index(folder, by_file)
    shapes: dict[str, list[int]] = {}
    for found in by_file.values():
        shapes |= found
    return shapes


def _require_index(folder: Path, by_file: Mapping[str, Shapes]) -> None:
    """Refuse shards that do not hold what the index says: exchanged ones, or another model's."""
    for tensor, shard in read_json(folder / INDEX, Index).weight_map.items():
        if tensor in by_file[shard]:
            continue
        others = [name for name, shapes in by_file.items() if tensor in shapes]
        hint = f"; {others[0]} does" if others else ""
        raise UserError(
            f"{folder / INDEX} says that {shard} holds {tensor!r}, but it does not{hint}: the "
            "files are not those of one model, or were renamed; download them again"
        )


def count_weights(shapes: Shapes) -> int:
    """Count the numbers in all tensors."""
    return sum(math.prod(shape) for shape in shapes.values())


def require_size(folder: Path, described: nn.Module) -> None:
    """Refuse a model that is far larger than its checkpoint, before there is memory for it.

    Args:
        folder: The model folder.
        described: The model that its config.json describes, on the meta device.

    Raises:
        UserError: The model is too large, or the files are not whole.
    """
    n_saved = count_weights(read_checkpoint(folder))
    n_described = {
        "weights": sum(weight.numel() for weight in described.parameters()),
        "entries in buffers": sum(buffer.numel() for buffer in described.buffers()),
    }
    for kind, number in n_described.items():
        if number > 2 * n_saved + SPARE:
            raise UserError(
                f"{folder / 'config.json'} describes a model with {number:,} {kind}, but the files "
                f"hold {n_saved:,} weights: they are not of one model"
            )
