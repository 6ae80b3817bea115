"""Latents as users give them, by index."""

from collections import Counter
from collections.abc import Collection, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.intervention import require_crosscoder
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError

Latents = Sequence[int] | Tensor


def parse_latents(crosscoder: Crosscoder, latents: Latents | int) -> Tensor:
    """Return latent indices as a tensor on the crosscoder's device.

    Args:
        crosscoder: Crosscoder that has the latents.
        latents: One index, or a list, array, tensor or set of them.

    Raises:
        UserError: An index is no whole number, is outside the dictionary or occurs twice.
    """
    require_crosscoder(crosscoder)
    indices = [_parse_index(item, latents, crosscoder) for item in _list_items(latents, crosscoder)]
    repeated = sorted(index for index, n in Counter(indices).items() if n > 1)
    if repeated:
        raise UserError(f"expected each latent once, but these are given twice: {repeated}")
    return torch.tensor(indices, dtype=torch.long, device=crosscoder.W_dec.device)


def _list_items(latents: Any, crosscoder: Crosscoder) -> list[Any]:
    """Return the items of a list, array, tensor or set; a number alone is a list of one."""
    items = latents.tolist() if hasattr(latents, "tolist") else latents
    if isinstance(items, Integral):
        return [items]
    if not isinstance(items, Collection) or isinstance(items, str | bytes):
        raise _refuse(repr(latents) if isinstance(latents, str) else type(latents), crosscoder)
    return list(items)


def _parse_index(item: Any, latents: Any, crosscoder: Crosscoder) -> int:
    """Return one index as a number."""
    value = item.item() if isinstance(item, Tensor) and item.dim() == 0 else item
    if isinstance(value, bool):
        found = repr(value)
        if isinstance(latents, Tensor):
            found = "a mask: write mask.nonzero()[:, 0]"
        elif hasattr(latents, "tolist"):
            found = "a mask: write numpy.flatnonzero(mask)"
        raise _refuse(found, crosscoder)
    if not isinstance(value, Integral):
        raise _refuse(repr(value), crosscoder)
    index = int(value)
    if not 0 <= index < crosscoder.n_latents:
        raise UserError(
            f"no latent {index}: the crosscoder has latents 0 to {crosscoder.n_latents - 1}"
        )
    return index


def _refuse(found: Any, crosscoder: Crosscoder) -> UserError:
    name = found.__name__ if isinstance(found, type) else str(found)
    return UserError(
        f"latents are whole numbers from 0 to {crosscoder.n_latents - 1}, "
        f"e.g. [0, 3] or table['latent'], not {name:.80}"
    )


def format_count(n: int) -> str:
    """Return `3 latents` or `1 latent`."""
    return "1 latent" if n == 1 else f"{n} latents"
