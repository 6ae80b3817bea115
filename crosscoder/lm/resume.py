"""Skip the first layers of passes over the same tokens, which differ in a later edit.

    with record_layers(model, n) as output:       # the first pass, in full
        clean = run_decoder(model, ids)
    with skip_layers(model, n, output), apply_edits(model, edits):
        edited = run_decoder(model, ids)          # begins with layer n

A layer of some architectures takes more from the layers before it than their output. Whether a pass
can be resumed is therefore measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from crosscoder.lm.architectures import get_layers
from crosscoder.lm.hooks import Hookpoint, run_decoder
from crosscoder.lm.loading.measuring import (
    N_IDS,
    get_strict_tolerance,
    measure_token_error,
    random_ids,
)
from crosscoder.lm.types import PreTrainedModel

LayerOutput = list[Any]
"""A list with the output of a layer, a tensor or a tuple; it is empty if no layer is skipped."""

_errors: "WeakKeyDictionary[PreTrainedModel, dict[int, float]]" = WeakKeyDictionary()


@contextmanager
def record_layers(model: PreTrainedModel, n_layers: int) -> Iterator[LayerOutput]:
    """Context manager: yield a list that receives what the first `n_layers` return."""
    output: LayerOutput = []
    if n_layers == 0:
        yield output
        return
    last = get_layers(model)[n_layers - 1]
    handle = last.register_forward_hook(lambda module, args, found: output.append(_copy(found)))
    try:
        yield output
    finally:
        handle.remove()


@contextmanager
def skip_layers(model: PreTrainedModel, n_layers: int, output: LayerOutput) -> Iterator[None]:
    """Context manager: the first `n_layers` return the recorded output and compute nothing."""
    layers = list(get_layers(model)[:n_layers])
    for layer in layers:
        layer.forward = partial(_return_copy, output)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # that of its class appears again


def _return_copy(output: LayerOutput, *args: Any, **kwargs: Any) -> Any:
    """Return the recorded output, whatever a layer gets."""
    return _copy(output[0])


def _copy(output: Any) -> Any:
    """Copy what a layer returned, because some models change it in place afterwards (Falcon)."""
    if isinstance(output, tuple | list):
        return type(output)(map(_copy, output))
    return output.clone() if isinstance(output, Tensor) else output


def count_shared_layers(model: PreTrainedModel, hookpoint: Hookpoint) -> int:
    """Return how many layers passes share whose edits are at a hookpoint.

    Returns:
        The number of layers before the edit; 0 if the model cannot be resumed after them.
    """
    n_layers = hookpoint.layer + 1 if hookpoint.site == "resid_post" else hookpoint.layer
    errors = _errors.setdefault(model, {})
    if n_layers not in errors:
        errors[n_layers] = _measure_resumed_error(model, n_layers)
    return n_layers if errors[n_layers] <= get_strict_tolerance(model.dtype) else 0


@torch.no_grad()
def _measure_resumed_error(model: PreTrainedModel, n_layers: int) -> float:
    """Return the error of a resumed pass, relative to the same pass in full."""
    positions = torch.arange(N_IDS, device=model.device)[None]
    ids = random_ids(model, N_IDS)[None].to(model.device)
    others = random_ids(model, N_IDS, seed=1)[None].to(model.device)
    try:
        with record_layers(model, n_layers) as output:
            whole = run_decoder(model, ids, positions)
        run_decoder(model, others, positions)  # what layers keep of their last pass is wrong now
        with skip_layers(model, n_layers, output):
            resumed = run_decoder(model, ids, positions)
    except Exception:  # an architecture that needs more fails in its own way
        return float("inf")
    return measure_token_error(resumed[0], whole[0])
