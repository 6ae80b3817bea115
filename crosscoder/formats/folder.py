"""Files that came from somewhere else, read without running anything in them: a folder, and the tensors of its files.

Everything that can be wrong with a file becomes a `UserError` here that names the file; nothing is half-read.
"""

import json
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import safe_open
from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.lm.pinned import sha256


@dataclass(frozen=True)
class Folder:
    """A folder with the files of one dictionary.

    Args:
        path: where it is on this machine.
        origin: where it came from, in the words that name layers, widths and models: a hub id with its folder, or the path.
        repo: of the hub, if it came from there.
        revision: its commit.
    """

    path: Path
    origin: str = ""
    repo: str | None = None
    revision: str | None = None
    digests: dict[str, str] = field(default_factory=dict, compare=False)

    def has(self, pattern: str) -> bool:
        """Whether there is a file of this name (`*` stands for anything)."""
        return bool(self.names(pattern))

    def names(self, pattern: str = "*") -> list[str]:
        """Its files of this name, sorted as a person counts."""
        found = [file.name for file in self.path.iterdir() if file.is_file() and fnmatchcase(file.name, pattern)]
        return sorted(
            found, key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
        )

    def match(self, pattern: str) -> re.Match | None:
        """Where the origin says something, e.g. `layer_(\\d+)`; the innermost folder that does."""
        found = list(re.finditer(rf"(?<![^/]){pattern}(?![^/])", self.origin))
        return found[-1] if found else None

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object."""
        return self._object(name, json.loads)

    def yaml(self, name: str) -> dict[str, Any]:
        """A YAML mapping of plain values."""
        return self._object(name, yaml.safe_load)

    def _object(self, name: str, parse: Callable[[str], Any]) -> dict[str, Any]:
        content = self._read(name, lambda path: parse(path.read_text(encoding="utf-8")))
        if not isinstance(content, dict):
            raise UserError(f"{self.path / name} holds no settings by name")
        return content

    def tensors(self, name: str) -> "Tensors":
        """The tensors of a `.safetensors`, `.npz` or `.pt` file."""
        read = {".safetensors": _safetensors, ".npz": _npz, ".pt": _torch}[Path(name).suffix]
        return Tensors(str(self.path / name), self._read(name, read))

    def shapes(self, name: str) -> dict[str, list[int]]:
        """Names and shapes of a `.safetensors` file's tensors, which stay on disk."""
        return self._read(name, _shapes)

    def _read(self, name: str, read: Callable[[Path], Any]) -> Any:
        path = self.path / name
        if not path.is_file():
            raise UserError(f"{self.path} lacks {name}")
        try:
            content = read(path)
        except Exception as error:  # parsers have many ways to say no, and all of them mean that the file is no good
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"{path} cannot be read: {said[:200]}") from error
        self.digests[name] = sha256(path)
        return content


def _safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _shapes(path: Path) -> dict[str, list[int]]:
    with safe_open(path, "pt") as file:
        return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _npz(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # it leaves a bad file open itself
        return {name: torch.from_numpy(np.ascontiguousarray(file[name])) for name in file.files}


def _torch(path: Path) -> dict[str, Tensor]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or not all(isinstance(x, Tensor) for x in content.values()):
        raise ValueError("it holds more than tensors by name")
    if odd := [name for name, x in content.items() if x.is_meta or x.is_quantized or x.is_nested]:
        raise ValueError(f"{odd[0]!r} holds no plain numbers")
    # torch.compile puts a prefix in front of every name
    return {str(name).removeprefix("_orig_mod."): tensor.detach().contiguous() for name, tensor in content.items()}


class Tensors:
    """Tensors by name, taken one by one, each with its axes: an axis has the same length wherever it occurs."""

    def __init__(self, file: str, tensors: Mapping[str, Tensor], lengths: Mapping[str, int] | None = None) -> None:
        self.file, self.left, self.lengths = file, dict(tensors), dict(lengths or {})

    def __contains__(self, name: str) -> bool:
        return name in self.left

    def take(self, name: str, axes: str, missing: float | None = None, finite: bool = True) -> Tensor:
        """A tensor as float32.

        Args:
            name: of the tensor.
            axes: e.g. `"M d F"`; a number stands for itself, `""` is a scalar.
            missing: what it is filled with where it is not there; None: it must be.
            finite: refuse NaN and infinity.
        """
        wanted = axes.split()
        if name not in self.left:
            if missing is None:
                raise UserError(f"{self.file} lacks '{name}'; it has {_listed(self.left)}")
            return torch.full([self._length(axis) for axis in wanted], missing)
        tensor = self.left.pop(name)
        shape = list(tensor.shape)
        expected = [self.lengths.get(axis, int(axis) if axis.isdigit() else None) for axis in wanted]
        fits = len(shape) == len(expected) and all(e in (None, n) for e, n in zip(expected, shape, strict=True))
        if not fits or 0 in shape:
            known = ", ".join(f"{axis} = {self.lengths[axis]}" for axis in wanted if axis in self.lengths)
            raise UserError(
                f"{self.file}: '{name}' has shape {shape}, not [{', '.join(wanted)}]{known and f' with {known}'}"
            )
        self.lengths |= {axis: n for axis, n in zip(wanted, shape, strict=True) if not axis.isdigit()}
        try:
            if tensor.is_complex():
                raise TypeError("complex")
            tensor = tensor.to_dense().float()
        except (RuntimeError, TypeError) as error:
            raise UserError(f"{self.file}: '{name}' holds no plain numbers, but {tensor.dtype}") from error
        if finite and not tensor.isfinite().all():
            raise UserError(f"{self.file}: '{name}' holds NaN or infinity")
        return tensor

    def _length(self, axis: str) -> int:
        return int(axis) if axis.isdigit() else self.lengths[axis]

    def drop(self, names: Iterable[str]) -> None:
        """Leave out what plays no part."""
        for name in names:
            self.left.pop(name, None)

    def done(self) -> None:
        """Refuse what nobody took: it would change the result in a way nobody here knows."""
        if self.left:
            raise UserError(f"{self.file} also holds {_listed(self.left)}, which this layout does not know")


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(map(repr, names[:12])) + (", …" if len(names) > 12 else "") if names else "nothing"


def setting(config: Mapping[str, Any], name: str, kinds: type | tuple[type, ...], file: str, default: Any = ...) -> Any:
    """A value of a configuration, of one of these kinds.

    Raises:
        UserError: it is not there and has no default, or is of another kind.
    """
    value = config.get(name, default)
    if value is ...:
        raise UserError(f"{file} lacks '{name}'")
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if value is not default and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        raise UserError(f"{file}: '{name}' is {shown(value)}, not {' or '.join(kind.__name__ for kind in kinds)}")
    if isinstance(value, int | float) and not abs(value) < 2**53:
        raise UserError(f"{file}: '{name}' is too large, or no number")
    return value


def one_of(value: Any, known: Sequence[str], what: str) -> Any:
    """A word that must be one of these."""
    if value not in known:
        raise UserError(f"{what} is {shown(value)}; readable are {', '.join(known)}")
    return value


def shown(value: Any) -> str:
    """A value as it is written in a file, cut short where it is long, deep or grows as it is written out."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # as Python has it of thousands of digits
        return "a number without end"


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 100, 100
