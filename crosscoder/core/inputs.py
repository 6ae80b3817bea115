"""Inputs of a crosscoder: their checks, and activations of one source or of a reading."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.reading import Reading
from crosscoder.core.sources import Sources
from crosscoder.core.sparse import DenseCode, SparseCode
from crosscoder.core.types import Acts
from crosscoder.errors import UserError
from crosscoder.values import require_choice


def require_acts(acts: Any, sources: Sources) -> None:
    """Refuse anything but floating-point activations [tokens, d_total].

    Raises:
        UserError: The input is no such tensor.
    """
    _require_rows(acts, sources.d_total)
    if acts.shape[-1] != sources.d_total:
        raise UserError(
            f"the crosscoder expects {sources.describe()}, "
            f"not activations of width {acts.shape[-1]}"
        )


def require_readable(acts: Tensor, device: torch.device) -> None:
    """Refuse activations with NaN or infinity, and those on another device than the crosscoder.

    Raises:
        UserError: The activations are refused.
    """
    if acts.device != device:
        raise UserError(
            f"activations are on {acts.device}, but the crosscoder is on {device}: "
            f"write acts.to('{device}')"
        )
    is_finite = acts.isfinite()
    if not is_finite.all():
        n_rows = int((~is_finite).any(-1).sum())
        raise UserError(
            f"activations are finite numbers, but {n_rows:,} of {len(acts):,} tokens have NaN or "
            "infinity"
        )


def require_latents(arguments: Mapping[str, Any], n_latents: int) -> None:
    """Refuse an activation that does not fit the number of latents.

    Args:
        arguments: Constructor arguments of the activation.
        n_latents: Size of the dictionary.

    Raises:
        UserError: The activation has more active latents than there are, or another number of
            latents.
    """
    k = arguments.get("k", 1)
    if k > n_latents:
        raise UserError(
            f"k={k} active latents per token are more than there are: n_latents={n_latents}"
        )
    size = arguments.get("n_latents", n_latents)
    if size != n_latents:
        raise UserError(f"the activation has {size} latents, but n_latents={n_latents}")


def require_units(mean: Any, scale: Any, d_total: int) -> None:
    """Refuse training units (raw − mean) / scale that do not exist.

    Raises:
        UserError: They are no tensors [d_total] of finite numbers, or a scale is not positive.
    """
    for name, values in (("mean", mean), ("scale", scale)):
        if not isinstance(values, Tensor) or values.shape != (d_total,):
            shape = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise UserError(f"{name} is a tensor [{d_total}], not {shape}")
        if not values.isfinite().all():
            raise UserError(f"{name} has finite numbers, not NaN or infinity")
    if (scale <= 0).any():
        raise UserError(f"scale has positive numbers, not {float(scale.min()):g}")


def require_mode(mode: Any, source: Any, sources: Sources) -> None:
    """Refuse a mode of encoding that does not exist, and a source that is not used or not there.

    Raises:
        UserError: The mode or the source is refused.
    """
    hint = ""
    if mode in sources.names:
        hint = f": for the code of one source write mode='solo', source='{mode}'"
    require_choice("mode", mode, ("paired", "solo"), hint)
    if source is None:
        return
    if mode == "paired":
        raise UserError(
            f"source is used with mode='solo' only, but it is {source!r:.80} and the mode is "
            "'paired', which reads all sources"
        )
    sources.slice(source)


def require_code(code: Any, n_latents: int) -> None:
    """Refuse anything but a code of a dictionary of this size.

    Raises:
        UserError: The input is no such code.
    """
    if not isinstance(code, SparseCode | DenseCode):
        hint = ": write DenseCode(f) for a tensor [tokens, n_latents]"
        raise UserError(
            f"a code is what crosscoder.encode returns, not {type(code).__name__}"
            f"{hint if isinstance(code, Tensor) else ''}"
        )
    if code.n_latents != n_latents:
        raise UserError(
            f"this code has {code.n_latents:,} latents, but the crosscoder has {n_latents:,}: "
            "decode with the crosscoder that encoded"
        )


def _require_rows(acts: Any, width: int) -> None:
    """Refuse anything but a matrix of floating-point numbers, one row per token."""
    expected = f"activations are a tensor [tokens, {width}]"
    if not isinstance(acts, Tensor):
        hint = "write pair.read(text) to get activations of text" if _is_text(acts) else ""
        hint = "write torch.as_tensor(acts)" if hasattr(acts, "__array__") else hint
        ending = f": {hint}" if hint else " or what pair.read returns"
        raise UserError(f"{expected}, not {type(acts).__name__}{ending}")
    if acts.dim() == 1:
        raise UserError(f"{expected}, not one of shape {list(acts.shape)}: write acts[None]")
    if acts.dim() != 2:
        raise UserError(
            f"{expected}, not one of shape {list(acts.shape)}: "
            "flatten batch and sequence first, acts.flatten(0, -2)"
        )
    if not acts.is_floating_point():
        raise UserError(f"{expected} of floating-point numbers, not of {acts.dtype}")


def _is_text(value: Any) -> bool:
    """Return whether a value is a text, or a list of texts or messages."""
    return isinstance(value, str) or (isinstance(value, list) and bool(value))


def select_sources(reading: Reading, sources: Sources) -> Acts:
    """Return a reading's activations of these sources, in their order.

    Raises:
        UserError: The reading lacks one of the sources.
    """
    if not set(sources.items) <= set(reading.sources.items):
        raise UserError(
            f"activations were read at {_describe_places(reading.sources)}, "
            f"but the crosscoder expects {_describe_places(sources)}"
        )
    return torch.cat([reading[name] for name in sources.names], dim=-1)


def complete_sources(
    acts: Tensor, source: str, sources: Sources, means: Mapping[str, Tensor]
) -> Acts:
    """Complete one source's activations [batch, d_source] to those of all sources.

    The others are taken to equal them, or to equal their own mean where widths differ.

    Raises:
        UserError: The activations have another width than the source.
    """
    sources.slice(source)  # refuses a source that is not there
    present = sources[source]
    _require_rows(acts, present.width)
    if acts.shape[-1] == sources.d_total:
        acts = acts[..., sources.slice(source)]
    if acts.shape[-1] != present.width:
        raise UserError(
            f"solo activations of '{source}' have width {present.width}, not {acts.shape[-1]}"
        )
    columns = []
    for other in sources:
        if other.width == present.width:
            columns.append(acts)
        else:
            columns.append(means[other.name].expand(len(acts), -1))
    return torch.cat(columns, dim=-1)


def _describe_places(sources: Sources) -> str:
    """Return `base resid_post.1, chat resid_post.1`."""
    return ", ".join(f"{source.lm} {source.hookpoint}" for source in sources)
