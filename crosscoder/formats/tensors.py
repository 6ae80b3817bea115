"""Take the tensors of a foreign file one by one by name, each with its axes."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from crosscoder.errors import UserError

MAX_LISTED_NAMES = 12


class Tensors:
    """Tensors of one file, taken by name; an axis has the same length wherever it occurs.

    Args:
        file: File name for messages.
        tensors: Tensors by name; mappings of plain numbers may be among them.
        lengths: Lengths of the axes that are known already.
    """

    def __init__(
        self, file: str, tensors: Mapping[str, Any], lengths: Mapping[str, int] | None = None
    ) -> None:
        self.file = file
        self.left = dict(tensors)
        self.lengths = dict(lengths or {})

    def __contains__(self, name: str) -> bool:
        return name in self.left

    def take(
        self, name: str, axes: str, missing: float | None = None, finite: bool = True
    ) -> Tensor:
        """Take a tensor as float32.

        Args:
            name: Name of the tensor.
            axes: Names of its axes, e.g. `"M d F"`; a number stands for itself, `""` is a scalar.
            missing: Fill value if the file lacks the tensor; None if the tensor is required.
            finite: Refuse NaN and infinity.

        Raises:
            UserError: The tensor is missing, has other axes, or does not hold plain numbers.
        """
        expected = axes.split()
        if name not in self.left:
            if missing is None:
                raise UserError(f"{self.file} lacks '{name}'; it has {_list_names(self.left)}")
            return torch.full([self._length(axis) for axis in expected], missing)
        tensor = self.left.pop(name)
        if not isinstance(tensor, Tensor):
            raise UserError(f"{self.file}: '{name}' is not a tensor")
        self._check_shape(name, list(tensor.shape), expected)
        tensor = self._convert(name, tensor)
        if finite and not tensor.isfinite().all():
            raise UserError(f"{self.file}: '{name}' holds NaN or infinity")
        return tensor

    def take_plain(self, name: str) -> Mapping[str, Any] | None:
        """Take a mapping of plain numbers; None if the file lacks it."""
        value = self.left.pop(name, None)
        if isinstance(value, Tensor):
            raise UserError(f"{self.file}: '{name}' is a tensor, expected settings")
        return value

    def drop(self, names: Iterable[str]) -> None:
        """Ignore tensors that do not influence the result."""
        for name in names:
            self.left.pop(name, None)

    def finish(self) -> None:
        """Refuse tensors that nobody took: they would change the result in an unknown way."""
        if self.left:
            names = _list_names(self.left)
            raise UserError(f"{self.file} also holds {names}, which this layout does not know")

    def _length(self, axis: str) -> int:
        return int(axis) if axis.isdigit() else self.lengths[axis]

    def _check_shape(self, name: str, shape: list[int], axes: list[str]) -> None:
        """Compare a shape with known lengths of axes, and remember the new ones."""
        if 0 in shape or not self._fits(shape, axes):
            known = [f"{axis} = {self.lengths[axis]}" for axis in axes if axis in self.lengths]
            message = f"{self.file}: '{name}' has shape {shape}, not [{', '.join(axes)}]"
            raise UserError(f"{message} with {', '.join(known)}" if known else message)
        for axis, length in zip(axes, shape, strict=True):
            if not axis.isdigit():
                self.lengths[axis] = length

    def _fits(self, shape: list[int], axes: list[str]) -> bool:
        if len(shape) != len(axes):
            return False
        for axis, length in zip(axes, shape, strict=True):
            is_known = axis.isdigit() or axis in self.lengths
            if is_known and self._length(axis) != length:
                return False
        return True

    def _convert(self, name: str, tensor: Tensor) -> Tensor:
        """Convert to a dense float32 tensor."""
        try:
            if tensor.is_complex():
                raise TypeError("complex")
            return tensor.to_dense().float()
        except (RuntimeError, TypeError) as error:
            raise UserError(
                f"{self.file}: '{name}' has dtype {tensor.dtype}, expected real numbers"
            ) from error


def _list_names(names: Iterable[str]) -> str:
    """Format names for a message; the first of them if there are many."""
    names = sorted(names)
    if not names:
        return "nothing"
    listed = ", ".join(map(repr, names[:MAX_LISTED_NAMES]))
    return f"{listed}, …" if len(names) > MAX_LISTED_NAMES else listed
