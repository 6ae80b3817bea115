"""Raw forward hooks: read or edit activations at hookpoints of a causal language model.

A hookpoint is a site of one decoder layer, written `site.layer`, e.g. `resid_post.9`:

    resid_post   output of the decoder layer
    mlp_out      what the MLP adds to the residual stream: after post-norms (Gemma) and multipliers
                 (Granite)
    attn_out     what the attention adds to the residual stream: after post-norms (Gemma) and
                 multipliers (Granite)
    attn_z       the attention heads' concatenated values, input of `o_proj`: its own width

`architectures.py` finds the module of a hookpoint in each architecture; `loading/sites.py` measures
that it is the right one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from crosscoder.errors import UserError
from crosscoder.lm import architectures
from crosscoder.lm.architectures import get_decoder, get_multiplier, get_site
from crosscoder.lm.layout import Layout, Packing, has_restarts
from crosscoder.lm.types import Cache, PreTrainedModel

Edit = Callable[[Tensor], Tensor | None]
"""Returns new activations, or None to leave them unchanged."""
SITES = ("resid_post", *architectures.SITES)


@dataclass(frozen=True, order=True)
class Hookpoint:
    """A site of one decoder layer, written `site.layer`."""

    layer: int
    site: str

    @classmethod
    def parse(cls, text: str) -> "Hookpoint":
        """Parse `resid_post.9` as Hookpoint(9, "resid_post")."""
        site, _, layer = text.partition(".")
        if site not in SITES or not layer.isdigit():
            raise UserError(
                f"no hookpoint '{text}'; write SITE.LAYER, e.g. resid_post.9, with SITE one of "
                f"{', '.join(SITES)}"
            )
        return cls(int(layer), site)

    def __str__(self) -> str:
        return f"{self.site}.{self.layer}"

    def get_module(self, model: PreTrainedModel) -> nn.Module:
        """Return the module whose output (`attn_z`: whose input) this hookpoint is."""
        return get_site(model, self.layer, self.site)

    @contextmanager
    def attach(self, model: PreTrainedModel, visit: Edit) -> Iterator[None]:
        """Context manager: call `visit` on every activation here, and use what it returns instead.

        Args:
            model: The language model.
            visit: Gets the activations [batch, sequence, width].
        """
        visitor = _Visitor(visit, self._get_factor(model))
        module = self.get_module(model)
        handles = []
        if self.site != "resid_post":
            layer = get_site(model, self.layer, "resid_post")
            handles.append(layer.register_forward_pre_hook(visitor.note_shape, with_kwargs=True))
        if self.site == "attn_z":
            handles.append(module.register_forward_pre_hook(visitor.visit_input))
        else:
            handles.append(module.register_forward_hook(visitor.visit_output))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _get_factor(self, model: PreTrainedModel) -> float:
        """Return the factor between a module's output and what is added to the stream."""
        return get_multiplier(model) if self.site in ("attn_out", "mlp_out") else 1.0


class _Visitor:
    """Hooks that pass a module's input or output to a function, and put its result in place.

    Args:
        visit: The function.
        factor: Factor by which the model multiplies the module's output afterwards.
    """

    def __init__(self, visit: Edit, factor: float) -> None:
        self.visit = visit
        self.factor = factor
        self.shape: tuple[int, ...] | None = None

    def note_shape(self, _: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        """Note [batch, sequence] of a layer's input, because OPT's MLP has one axis of tokens."""
        hidden = args[0] if args else kwargs["hidden_states"]
        self.shape = tuple(hidden.shape[:2])

    def visit_input(self, _: nn.Module, args: tuple) -> tuple | None:
        new = self.visit(args[0])
        return None if new is None else (new, *args[1:])

    def visit_output(self, _: nn.Module, args: tuple, output: Any) -> Any:
        # some layers, and most attention modules, return a tuple or a list
        first, *rest = output if isinstance(output, tuple | list) else (output,)
        new = self._visit_tensor(first)
        if new is None:
            return None
        if isinstance(output, list):
            return [new, *rest]
        return (new, *rest) if isinstance(output, tuple) else new

    def _visit_tensor(self, output: Tensor) -> Tensor | None:
        acts = output
        if output.dim() == 2 and self.shape is not None:
            acts = output.unflatten(0, self.shape)
        if self.factor == 1.0:
            new = self.visit(acts)
        else:
            new = self.visit(acts * self.factor)
            new = None if new is None else new / self.factor
        return None if new is None else new.view_as(output)


class _AllRead(Exception):
    """Raised in a forward pass after every hookpoint was read, to skip the rest of the model."""


@torch.inference_mode()
def read(
    model: PreTrainedModel,
    hookpoints: Sequence[Hookpoint],
    ids: Tensor,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
    cache: Cache | None = None,
    packing: Packing | None = None,
) -> dict[Hookpoint, Tensor]:
    """Read activations in one forward pass, which stops at the last hookpoint.

    Args:
        model: The language model.
        hookpoints: Where activations are read.
        ids: Token ids, [batch, sequence].
        positions: Positions, [batch, sequence]. Where they restart inside a row, another document
            begins, and documents do not see each other.
        mask: [batch, sequence] (1 = token) for left-padded batches, or [batch, 1, sequence,
            sequence] (True = visible).
        cache: KV cache that the pass continues and adds to.
        packing: How documents in one row are isolated; None measures what the model needs (see
            `packing.py`).

    Returns:
        Activations by hookpoint, each [batch, sequence, width].
    """
    layout = None
    is_plain = mask is None and cache is None
    if is_plain and positions is not None and has_restarts(positions):
        if packing is None:
            from crosscoder.lm.packing import get_packing  # it measures by reading

            packing = get_packing(model, hookpoints, ids.shape[1])
        layout = Layout(packing, positions)
        ids = layout.arrange(ids)
        positions = layout.positions
        mask = layout.mask
    found: dict[Hookpoint, Tensor] = {}

    def keep(hookpoint: Hookpoint, acts: Tensor) -> None:
        restored = layout.restore(acts) if layout else acts
        found[hookpoint] = restored.clone()  # some models change it in place afterwards (Falcon)
        if len(found) == len(hookpoints):
            raise _AllRead

    with ExitStack() as stack:
        for hookpoint in hookpoints:
            stack.enter_context(hookpoint.attach(model, lambda acts, h=hookpoint: keep(h, acts)))
        with suppress(_AllRead):
            run_decoder(model, ids, positions, mask, cache)
    return found


def run_decoder(
    model: PreTrainedModel,
    ids: Tensor,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
    cache: Cache | None = None,
) -> Tensor:
    """Run a model up to its head.

    Returns:
        Final hidden states, [batch, sequence, d_model].
    """
    decoder = get_decoder(model)
    if mask is not None and mask.dim() == 4 and mask.dtype == torch.bool:
        # an attention layer adds this mask to its scores
        mask = torch.where(mask, 0.0, torch.finfo(model.dtype).min).to(model.dtype)
    options: dict[str, Any] = {"attention_mask": mask, "use_cache": cache is not None}
    # BLOOM, whose positions are relative, takes no position_ids
    if positions is None or "position_ids" in signature(decoder.forward).parameters:
        options["position_ids"] = positions
    if cache is not None:
        options["cache"] = cache
    output = decoder(input_ids=ids, **options)
    return output[0] if isinstance(output, tuple) else output.last_hidden_state


@contextmanager
def apply_edits(
    model: PreTrainedModel, edits: Mapping[Hookpoint, Edit]
) -> Iterator[PreTrainedModel]:
    """Context manager: replace activations by what edits return; restore the model at exit."""
    with ExitStack() as stack:
        for hookpoint, edit in edits.items():
            stack.enter_context(hookpoint.attach(model, edit))
        yield model
