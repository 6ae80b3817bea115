"""Change bytes, settings or tensors of files in one place that hypothesis draws."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

Draw = Callable[[st.SearchStrategy], Any]

ODD = st.sampled_from([0, 1, -1, 10**400, 1e300, "²", "topk", "os", "a\nb"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ODD
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
DTYPES = (torch.float64, torch.float16, torch.int64, torch.int8, torch.bool, torch.complex64)
NAN, INF = float("nan"), float("inf")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return Path.touch, (self.sentinel,)


def one_of(draw: Draw, *choices: Any) -> Any:
    return draw(st.sampled_from(choices))


def spoil_bytes(draw: Draw, content: bytes) -> bytes:
    """Flip a byte, insert or cut some, or drop the rest; often near the start, in headers."""
    start = draw(st.integers(0, min(len(content) - 1, one_of(draw, 300, len(content)))))
    head, tail, some = content[:start], content[start:], draw(st.binary(min_size=1, max_size=50))
    how = one_of(draw, "flip", "insert", "cut", "end")
    flipped = bytes([tail[0] ^ draw(st.integers(1, 255))]) + tail[1:]
    return (
        head + {"flip": flipped, "insert": some + tail, "cut": tail[len(some) :], "end": b""}[how]
    )


def spoil_settings(draw: Draw, settings: Any) -> Any:
    """Replace, remove or add one value at any depth; sometimes replace everything."""
    keys = (
        list(settings)
        if isinstance(settings, dict)
        else range(len(settings))
        if isinstance(settings, list)
        else []
    )
    if not keys or draw(st.integers(0, 9)) == 0:
        return draw(VALUES)
    key = one_of(draw, *keys)
    how = one_of(draw, "replace", "replace", "remove", "add")
    if how == "remove":
        del settings[key]
    elif how == "add" and isinstance(settings, dict):
        settings[draw(st.text())] = draw(VALUES)
    else:
        settings[key] = spoil_settings(draw, settings[key])
    return settings


def spoil_tensors(draw: Draw, tensors: dict[str, Tensor]) -> None:
    """Change, drop, rename or add one tensor."""
    name = one_of(draw, *sorted(tensors))
    how = one_of(draw, "change", "change", "change", "drop", "rename", "add")
    if how == "add":
        tensors[one_of(draw, "other", "W_skip", "threshold", "scaling_factor")] = torch.ones(3)
    elif how == "rename":
        tensors[one_of(draw, *tensors, name.upper(), "_orig_mod." + name)] = tensors.pop(name)
    elif how == "drop":
        del tensors[name]
    else:
        tensors[name] = other(draw, tensors[name])


def other(draw: Draw, tensor: Tensor) -> Tensor:
    """Return other numbers, another dtype or another shape."""
    how = one_of(
        draw,
        "number",
        "all",
        "scaled",
        "kind",
        "turned",
        "longer",
        "shorter",
        "empty",
        "flat",
        "axis",
    )
    numbers = tensor.float() if tensor.ndim == 0 else tensor
    if how == "number":
        numbers.view(-1)[draw(st.integers(0, tensor.numel() - 1))] = one_of(
            draw, NAN, INF, -INF, 3e38, -1.0, 0.0
        )
        return numbers
    if how == "all":
        return torch.full_like(numbers, one_of(draw, 0.0, -1.0, NAN, INF, -INF, 1e30))
    if how == "scaled":
        return numbers * one_of(draw, 0.0, -1.0, 1e-30, 1e10, 1e20)
    if how == "kind":
        return tensor.to(one_of(draw, *DTYPES))
    if tensor.ndim:
        axis = draw(st.integers(0, tensor.ndim - 1))
        parts = {"turned": tensor.movedim(0, -1), "longer": torch.cat([tensor, tensor], axis)}
        parts |= {
            "shorter": tensor.narrow(axis, 0, tensor.shape[axis] - 1),
            "empty": tensor.narrow(axis, 0, 0),
        }
        if how in parts:
            return parts[how]
    return tensor.flatten() if how == "flat" else tensor[None]
