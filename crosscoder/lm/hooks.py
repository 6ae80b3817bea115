"""Raw forward hooks: read activations at hookpoints, or edit them, in any transformers causal language model.

A hookpoint is a site of one decoder layer, written `site.layer`, e.g. `resid_post.9`:

    resid_post   output of the decoder layer
    mlp_out      what the MLP adds to the residual stream (after Gemma's post-norm, where there is one)
    attn_out     what the attention adds to the residual stream (after Gemma's post-norm, where there is one)
    attn_z       the attention heads' concatenated values, input of `o_proj`: its own width
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from crosscoder.errors import UserError

Edit = Callable[[Tensor], Tensor | None]  # None leaves an activation as it is


@dataclass(frozen=True, order=True)
class Hookpoint:
    """A site of a decoder layer (see the module's docstring)."""

    layer: int
    site: str

    @classmethod
    def parse(cls, text: str) -> "Hookpoint":
        """`resid_post.9` → Hookpoint(9, "resid_post")."""
        site, _, layer = text.partition(".")
        if site not in SITES or not layer.isdigit():
            raise UserError(
                f"no hookpoint '{text}'; write SITE.LAYER, e.g. resid_post.9, with SITE one of {', '.join(SITES)}"
            )
        return cls(int(layer), site)

    def __str__(self) -> str:
        return f"{self.site}.{self.layer}"

    def module(self, model: PreTrainedModel) -> nn.Module:
        """The module whose output (`attn_z`: whose input) this hookpoint is."""
        layers: Any = model.get_decoder().layers
        if self.layer >= len(layers):
            raise UserError(
                f"no layer {self.layer}: {model.config.name_or_path or 'the model'} has layers 0 to {len(layers) - 1}"
            )
        return SITES[self.site](layers[self.layer])

    @contextmanager
    def attached(self, model: PreTrainedModel, visit: Edit) -> Iterator[None]:
        """While open, `visit` sees every activation here; what it returns, if anything, takes the activation's place."""

        def on_input(_: nn.Module, args: tuple) -> tuple | None:
            new = visit(args[0])
            return None if new is None else (new, *args[1:])

        def on_output(_: nn.Module, args: tuple, output: Any) -> Any:
            # decoder layers of transformers 4, and attention modules, return a tuple
            first, *rest = output if isinstance(output, tuple) else (output,)
            new = visit(first)
            if new is None:
                return None
            return (new, *rest) if isinstance(output, tuple) else new

        module = self.module(model)
        handle = (
            module.register_forward_pre_hook(on_input)
            if self.site == "attn_z"
            else module.register_forward_hook(on_output)
        )
        try:
            yield
        finally:
            handle.remove()


def _normed(layer: nn.Module, norm: str, otherwise: str) -> nn.Module:
    # Llama also has a `post_attention_layernorm`, but it norms the MLP's input: only sandwich-normed layers count
    sandwich = hasattr(layer, "post_feedforward_layernorm")
    return getattr(layer, norm if sandwich else otherwise)


SITES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "resid_post": lambda layer: layer,
    "mlp_out": lambda layer: _normed(layer, "post_feedforward_layernorm", "mlp"),
    "attn_out": lambda layer: _normed(layer, "post_attention_layernorm", "self_attn"),
    "attn_z": lambda layer: layer.get_submodule("self_attn.o_proj"),
}


class _AllRead(Exception):
    """Raised inside a forward pass once every hookpoint has been read: the rest of the model need not run."""


@torch.inference_mode()
def read(
    model: PreTrainedModel,
    hookpoints: Sequence[Hookpoint],
    ids: Tensor,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
    cache: Cache | None = None,
) -> dict[Hookpoint, Tensor]:
    """Activations at `hookpoints`, each [batch, sequence, width], in one pass that stops at the last one needed.

    `positions` that restart inside a row mark packed documents, which then do not attend to each other; `mask`
    (1 = token) is for left-padded batches instead. With a `cache` the pass goes on from what is in it, and adds itself.
    """
    found: dict[Hookpoint, Tensor] = {}

    def keep(hookpoint: Hookpoint, acts: Tensor) -> None:
        found[hookpoint] = acts
        if len(found) == len(hookpoints):
            raise _AllRead

    with ExitStack() as stack:
        for hookpoint in hookpoints:
            stack.enter_context(hookpoint.attached(model, lambda acts, h=hookpoint: keep(h, acts)))
        with suppress(_AllRead):
            model.get_decoder()(
                input_ids=ids,
                position_ids=positions,
                attention_mask=mask,
                cache=cache,
                use_cache=cache is not None,
            )
    return found


@contextmanager
def edited(model: PreTrainedModel, edits: Mapping[Hookpoint, Edit]) -> Iterator[PreTrainedModel]:
    """The model with each hookpoint's activation replaced by what its edit returns; restored on leaving, also on error."""
    with ExitStack() as stack:
        for hookpoint, edit in edits.items():
            stack.enter_context(hookpoint.attached(model, edit))
        yield model
