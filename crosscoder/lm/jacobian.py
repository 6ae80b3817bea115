"""The mean Jacobian from a hookpoint to the final layer, for the Jacobian lens.

    J̄ = mean over contexts and their source positions p of Σ_{p' ≥ p} ∂h_final[p'] / ∂h[p]

    h_final   output of the last decoder layer, before the final norm
    h         activation at the hookpoint
    p, p'     the last N_TAIL tokens of a context

J̄ d is the mean change of the final layer when a direction d is added at the hookpoint: at the same
token, and at the N_TAIL − 1 next ones. Gurnee et al. 2026, "Verbalizable Representations Form a
Global Workspace in Language Models" (transformer-circuits.pub/2026/workspace), with the estimator
of its code (github.com/anthropics/jacobian-lens): for each output dimension one backward pass from
all target positions at once gives the sum over p' at every source position. As there, the first
positions of a text are neither sources nor targets, because they are attention sinks.

A longer tail counts later tokens as well, but each of its tokens costs d_model backward passes. So
many contexts with the shortest tail are used, and what comes before the tail is read once, without
a gradient, into a KV cache.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from crosscoder.errors import NotApplicable
from crosscoder.lm.architectures import describe_model, get_hidden_size, get_layers
from crosscoder.lm.hooks import Hookpoint, read, run_decoder
from crosscoder.lm.lens_contexts import N_TAIL, LensContexts
from crosscoder.lm.loading.measuring import get_rounding_tolerance, measure_token_error
from crosscoder.lm.tail_attention import stop_gradients_at_cache
from crosscoder.lm.types import Cache, PreTrainedModel
from crosscoder.runtime.progress import progress

Jacobian = Float[Tensor, "d_model width"]

# contexts in one forward pass: its graph stays in memory for d_model backward passes
CONTEXTS_PER_BATCH = 256


def compute_jacobian(
    model: PreTrainedModel, hookpoint: Hookpoint, contexts: LensContexts
) -> Jacobian:
    """Compute the mean Jacobian from a hookpoint to the output of the last layer, in float32.

    The backward passes are in the model's own dtype.

    Raises:
        NotApplicable: The model cannot continue a KV cache by several tokens.
    """
    batches = contexts.ids.split(CONTEXTS_PER_BATCH)
    n_dimensions = get_hidden_size(model)
    total: Tensor | None = None
    with progress("dimensions") as bar:
        task = bar.add_task("Jacobian", total=len(batches) * n_dimensions, note=str(hookpoint))
        for ids in batches:
            source, outputs = _run_tail(model, hookpoint, ids)
            rows = []
            for output in outputs:
                gradient = torch.autograd.grad(output, source, retain_graph=True)[0]
                rows.append(gradient.to(_widen(gradient.dtype)).sum((0, 1)))
                bar.advance(task)
            total = torch.stack(rows) if total is None else total + torch.stack(rows)
    assert total is not None
    return (total / (len(contexts) * N_TAIL)).float().cpu()


def _widen(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _run_tail(
    model: PreTrainedModel, hookpoint: Hookpoint, ids: Int[Tensor, "batch time"]
) -> tuple[Float[Tensor, "batch tail width"], Sequence[Tensor]]:
    """Run the tails of contexts with a gradient that begins at the hookpoint.

    Returns:
        The activations there, and for each dimension the sum over all tails of the activations
        after the last layer. Its gradient at a source position counts the later targets of the same
        context only.
    """
    ids = ids.to(model.device)
    try:
        return _run_tail_in(stop_gradients_at_cache(model), model, hookpoint, ids)
    except (NotApplicable, RuntimeError, TypeError, ValueError):
        # an architecture with another attention takes its own, which is slower
        return _run_tail_in(_plain_attention(), model, hookpoint, ids)


def _run_tail_in(
    attention: AbstractContextManager[object],
    model: PreTrainedModel,
    hookpoint: Hookpoint,
    ids: Int[Tensor, "batch time"],
) -> tuple[Float[Tensor, "batch tail width"], Sequence[Tensor]]:
    """Do what `_run_tail` does, with a kind of attention."""
    last = Hookpoint(len(get_layers(model)) - 1, "resid_post")
    found: dict[str, Tensor] = {}

    def begin(acts: Tensor) -> Tensor:
        found["source"] = acts.detach().requires_grad_()
        return found["source"].clone()  # a model may change it in place

    def end(acts: Tensor) -> None:
        found["final"] = acts

    cache = _read_lead(model, ids[:, :-N_TAIL])
    with torch.enable_grad(), attention:
        with hookpoint.attach(model, begin), last.attach(model, end):
            run_decoder(model, ids[:, -N_TAIL:], _number(ids)[:, -N_TAIL:], cache=cache)
        outputs = found["final"].sum((0, 1)).unbind()
    _require_equal(model, last, ids, found["final"])
    return found["source"], outputs


def _plain_attention() -> AbstractContextManager[object]:
    """Return a context in which attention is matrix products and a softmax.

    In bfloat16 on a CPU, the backward pass of the fused kernel takes longer than all other layers.
    """
    return sdpa_kernel(SDPBackend.MATH)


@torch.no_grad()
def _read_lead(model: PreTrainedModel, ids: Int[Tensor, "batch lead"]) -> Cache:
    """Read what comes before the tails into a cache."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    run_decoder(model, ids, _number(ids), cache=cache)
    return cache


def _number(ids: Int[Tensor, "batch time"]) -> Int[Tensor, "batch time"]:
    return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)


def _require_equal(
    model: PreTrainedModel, last: Hookpoint, ids: Int[Tensor, "batch time"], found: Tensor
) -> None:
    """Refuse a model whose pass in two parts is not that of the whole context.

    One row is compared.
    """
    whole = read(model, [last], ids[:1], _number(ids[:1]))[last][0, -N_TAIL:]
    error = measure_token_error(found[0].detach(), whole)
    if not error <= get_rounding_tolerance(model.dtype):
        raise NotApplicable(
            f"the Jacobian lens does not fit {describe_model(model)}: its activations change by "
            f"{error:.2g} if it continues a KV cache by several tokens"
        )
