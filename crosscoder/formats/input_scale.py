"""Factors that bring activations to the scale that a file's weights read, given by the user."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.sources import Sources
from crosscoder.errors import UserError
from crosscoder.formats.folder import Folder
from crosscoder.formats.settings import format_value

InputScale = float | Mapping[str, float] | None
SMALLEST_FACTOR = 1e-30
LARGEST_FACTOR = 1e30


def require_input_scale(
    input_scale: InputScale, sources: Sources, folder: Folder, hint: str
) -> Tensor:
    """Return the factors c, [d_total], by which x is multiplied before the weights read it.

    Args:
        input_scale: The user's factor, or a factor for each source.
        sources: Sources of the dictionary.
        folder: Folder that is named in errors.
        hint: Sentence that says where the factors can be found.

    Raises:
        UserError: The factors are missing, name other sources, or are not positive numbers.
    """
    if input_scale is None:
        factors = ", ".join(f"{name!r}: …" for name in sources.names)
        raise UserError(
            f"{folder.path}: its weights read scaled activations, and the files do not hold the "
            f"factors. {hint} Pass them as input_scale={{{factors}}}"
        )
    if isinstance(input_scale, Mapping):
        by_source: Mapping[Any, Any] = input_scale
    else:
        by_source = dict.fromkeys(sources.names, input_scale)
    if set(by_source) != set(sources.names):
        found = ", ".join(map(str, by_source))
        raise UserError(
            f"input_scale must name the sources {', '.join(sources.names)}, found {found}"
        )
    bad = {name: factor for name, factor in by_source.items() if not _is_factor(factor)}
    if bad:
        raise UserError(
            f"input_scale must be a positive factor for each source, found {format_value(bad)}"
        )
    columns = [torch.full((source.width,), float(by_source[source.name])) for source in sources]
    return torch.cat(columns)


def reject_input_scale(input_scale: InputScale, folder: Folder) -> None:
    """Refuse factors where the files already say how activations are scaled."""
    if input_scale is not None:
        raise UserError(
            f"{folder.path}: its files say how activations are scaled; leave input_scale out"
        )


def _is_factor(value: Any) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    factor: Any = value
    return is_number and SMALLEST_FACTOR < factor < LARGEST_FACTOR
