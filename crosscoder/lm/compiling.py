"""Compile decoder layers with torch.compile, for many forward passes on sequences of one length.

The compiler fuses what lies between the matrix products: norms, rotary positions, masks and
activation functions. What eager bfloat16 rounds between two such operations stays in float32. On a
CPU, the attention of short sequences is faster as two matrix products and a softmax than as a fused
kernel (docs/performance.md).
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from crosscoder.errors import first_line
from crosscoder.lm.architectures import get_layers
from crosscoder.lm.attention import replace_attention
from crosscoder.lm.hooks import Hookpoint, read
from crosscoder.lm.layout import Packing
from crosscoder.lm.loading.measuring import get_rounding_tolerance, measure_token_error
from crosscoder.lm.types import PreTrainedModel

log = logging.getLogger(__name__)
SHORT = 512  # tokens of a sequence up to which plain attention replaces the fused kernel on a CPU


@contextmanager
def compile_layers(
    model: PreTrainedModel,
    hookpoints: Sequence[Hookpoint],
    ids: Tensor,
    positions: Tensor,
    packing: Packing,
) -> Iterator[bool]:
    """Context manager: compile the layers that reading these hookpoints runs.

    The compiled model is compared with the uncompiled one on one batch. If it cannot be compiled,
    e.g. without a C++ compiler, or if its activations differ by more than rounding, one line says
    so and the model stays as it is. Batches that would need another compilation run uncompiled.

    Args:
        model: The language model; it is restored at exit.
        hookpoints: Where activations are going to be read, and nowhere else.
        ids: Token ids of the batch, [batch, sequence].
        positions: Their positions, [batch, sequence].
        packing: How documents in one row are isolated.

    Yields:
        Whether the model is compiled.
    """
    expected = read(model, hookpoints, ids, positions, packing=packing)
    with ExitStack() as stack:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler uses what torch has deprecated
                stack.enter_context(_replace_forward(model, hookpoints, seq_len=ids.shape[1]))
                found = read(model, hookpoints, ids, positions, packing=packing)
            refusal = _find_difference(found, expected, model.dtype)
        except Exception as error:  # every stage of a compiler fails in its own way
            refusal = first_line(error)
        if refusal is None:
            stack.enter_context(torch.compiler.set_stance("eager_on_recompile"))
        else:
            stack.close()
            log.warning("the model runs uncompiled, which is slower: %.200s", refusal)
        yield refusal is None


def _find_difference(
    found: dict[Hookpoint, Tensor], expected: dict[Hookpoint, Tensor], dtype: torch.dtype
) -> str | None:
    """Say where compiled activations differ by more than rounding; None if they do not."""
    for hookpoint, acts in expected.items():
        error = measure_token_error(found[hookpoint].flatten(0, 1), acts.flatten(0, 1))
        if not error <= get_rounding_tolerance(dtype):  # NaN is refused, too
            return f"compiled, its activations at {hookpoint} differ by {error:.2g}"
    return None


@contextmanager
def _replace_forward(
    model: PreTrainedModel, hookpoints: Sequence[Hookpoint], seq_len: int
) -> Iterator[None]:
    """Context manager: let layers run compiled, and short sequences on a CPU plain attention."""
    layers = _list_compilable(model, hookpoints)
    is_short = model.device.type == "cpu" and seq_len <= SHORT
    # in a layer that is not compiled, plain attention rounds more than the fused kernel
    has_all_layers = len(layers) == 1 + max(hookpoint.layer for hookpoint in hookpoints)
    with ExitStack() as stack:
        # torch compiles a function a few times only, and each model is one time
        stack.callback(torch.compiler.reset)
        if is_short and has_all_layers:
            stack.enter_context(replace_attention(model, "eager"))
        for layer in layers:
            stack.callback(vars(layer).pop, "forward", None)
            # dynamic: batches of all sizes share one compilation
            layer.forward = torch.compile(layer.forward, dynamic=True)
        yield


def _list_compilable(model: PreTrainedModel, hookpoints: Sequence[Hookpoint]) -> list[nn.Module]:
    """List the layers that are run, without those that have a hook inside.

    A hook that is set anew for every pass would be compiled once and then be ignored. Neither are
    layers listed whose forward method somebody has replaced.
    """
    last = max(hookpoint.layer for hookpoint in hookpoints)
    hooked = {hookpoint.layer for hookpoint in hookpoints if hookpoint.site != "resid_post"}
    layers = []
    for number, layer in enumerate(get_layers(model)[: last + 1]):
        if number not in hooked and "forward" not in vars(layer):
            layers.append(layer)
    return layers
