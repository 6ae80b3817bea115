"""Reuse what the layers below an edit compute, where many edits act on the same tokens.

    tokens ─> layers 0 … L ─> acts ─┬─> intervention 1 ─> layers L+1 … ─> final states
                                    └─> intervention 2 ─> layers L+1 … ─> final states

The activations at `resid_post.L` do not depend on the edit there, nor do those of the partner
models. Passes with a KV cache are never reused, because lower layers must fill it.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from crosscoder.lm.architectures import get_layers
from crosscoder.lm.editing.partner import Partner
from crosscoder.lm.hooks import Hookpoint
from crosscoder.lm.resume import count_shared_layers
from crosscoder.lm.types import PreTrainedModel


class LowerLayers:
    """The layers of a model up to one of them, which run once on the same tokens.

    Args:
        model: The model.
        n_layers: Number of layers, at least 1.

    Attributes:
        digest: Digest of the current pass (see `digest_arguments`); None runs the layers as usual.
    """

    def __init__(self, model: PreTrainedModel, n_layers: int) -> None:
        self.layers = list(get_layers(model))[:n_layers]
        self.digest: bytes | None = None
        self._outputs: dict[bytes, Any] = {}

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Context in which layers return the kept output of the last one, if there is one."""
        before = [vars(layer).get("forward") for layer in self.layers]
        for layer in self.layers:
            wrapped = functools.partial(self._forward, layer is self.layers[-1], layer.forward)
            layer.forward = functools.wraps(layer.forward)(wrapped)
        try:
            yield
        finally:
            self.digest = None
            for layer, forward in zip(self.layers, before, strict=True):
                del layer.forward
                if forward is not None:
                    layer.forward = forward

    def _forward(self, is_last: bool, original: Callable, *args: Any, **kwargs: Any) -> Any:
        if self.digest is None or torch.is_grad_enabled():
            return original(*args, **kwargs)
        # copies, because some models change a layer's output in place (Falcon)
        if self.digest in self._outputs:
            return copy.deepcopy(self._outputs[self.digest])
        output = original(*args, **kwargs)
        if is_last:
            self._outputs[self.digest] = copy.deepcopy(output)
        return output


class CleanPasses:
    """Keeps activations of clean passes up to the hookpoints of edits, by model and tokens."""

    def __init__(self) -> None:
        self._lower_layers: dict[tuple[PreTrainedModel, int], LowerLayers | None] = {}
        self._acts: dict[tuple[Partner, bytes | None], dict[str, Tensor]] = {}

    def get_lower_layers(self, model: PreTrainedModel, hookpoint: Hookpoint) -> LowerLayers | None:
        """Return the layers up to a hookpoint; None if the model must run them every time."""
        if hookpoint.site != "resid_post":
            return None
        key = (model, hookpoint.layer + 1)
        if key not in self._lower_layers:
            is_skippable = count_shared_layers(model, hookpoint) > 0
            self._lower_layers[key] = LowerLayers(*key) if is_skippable else None
        return self._lower_layers[key]

    def find(self, partner: Partner, digest: bytes | None) -> dict[str, Tensor] | None:
        """Return a partner's activations in the pass with this digest; None if there is none."""
        return self._acts.get((partner, digest))

    def keep(self, partner: Partner, digest: bytes | None, acts: dict[str, Tensor]) -> None:
        """Keep a partner's activations; a pass without a digest is not kept."""
        if digest is not None:
            self._acts[partner, digest] = acts


def digest_arguments(*calls: Mapping[str, Any]) -> bytes | None:
    """Return a digest of a pass's arguments; None if the pass uses a cache or unknown objects.

    Args:
        calls: Arguments by name of the model, which may be empty, and of its decoder, the last.
    """
    if calls[-1].get("use_cache") is not False:
        return None
    digest = sha256()
    for call in calls:
        for name, value in sorted(call.items()):
            if isinstance(value, Tensor):
                digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
                content = value.detach().cpu().flatten().contiguous()
                digest.update(content.view(torch.uint8).numpy().tobytes())
            elif value is None or isinstance(value, bool | int | float | str):
                digest.update(f"{name} {value!r}".encode())
            else:
                return None
    return digest.digest()
