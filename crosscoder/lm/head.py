"""The end of a language model: the final norm, the head, and the logits it computes."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from crosscoder.errors import NotApplicable
from crosscoder.lm.architectures import describe_model, get_decoder, get_submodule
from crosscoder.lm.types import PreTrainedModel

NORMS = (
    "norm",
    "ln_f",
    "final_layernorm",
    "final_layer_norm",
    "final_norm",
    "layer_norm",
    "norm_f",
    "embedding_norm",
    "out_norm",
    "ln_out",
    "layernorm",
)
LOGIT_FACTORS = (
    "logit_scale",  # Cohere
    "lm_head_multiplier",  # Falcon H1
    "output_multiplier",  # Muse
)


def get_final_norm(model: PreTrainedModel) -> nn.Module:
    """Return the norm between last layer and head; the identity where none has a known name."""
    decoder = get_decoder(model)
    if get_submodule(decoder, "decoder.layers") is not None:
        decoder = decoder.get_submodule("decoder")
    for name in NORMS:
        if (norm := get_submodule(decoder, name)) is not None:
            return norm
    return nn.Identity()


def get_head(model: PreTrainedModel) -> nn.Module:
    """Return the unembedding.

    Raises:
        NotApplicable: The model has none.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise NotApplicable(f"{describe_model(model)} has no output embeddings")
    return head


def get_logits(
    model: PreTrainedModel,
    hidden: Float[Tensor, "*batch d_model"],
    ids: Int[Tensor, "chosen"] | slice | None = None,
) -> Float[Tensor, "*batch vocabulary"]:
    """Return the logits of final hidden states, in float32.

    The factors and the soft cap of some models are applied.

    Args:
        model: The language model.
        hidden: Final hidden states.
        ids: Tokens whose logits are returned, [*batch, chosen]; None for all.
    """
    head: Any = get_head(model)
    if hasattr(head, "weight"):
        hidden = hidden.to(head.weight.dtype)  # Mamba's norm is in float32
    logits = apply_head(head, hidden, ids).float()
    config = model.config.get_text_config(decoder=True)
    scaling = getattr(config, "logits_scaling", None)
    if scaling is not None:  # HyperCLOVA X multiplies, Granite divides
        logits = logits * scaling if config.model_type == "hyperclovax" else logits / scaling
    for name in LOGIT_FACTORS:
        factor = getattr(config, name, None)
        if factor is not None:
            logits = logits * factor
    cap = getattr(config, "final_logit_softcapping", None)
    if cap is not None:  # Gemma 2
        logits = torch.tanh(logits / cap) * cap
    return logits


def apply_head(
    head: nn.Module,
    hidden: Float[Tensor, "*batch d_model"],
    ids: Int[Tensor, "chosen"] | slice | None = None,
) -> Float[Tensor, "*batch vocabulary"]:
    """Return what the unembedding makes of hidden states.

    Args:
        head: The unembedding.
        hidden: Hidden states in its dtype.
        ids: Tokens that are computed, [*batch, chosen]; None for all.
    """
    if ids is None:
        return head(hidden)
    if isinstance(ids, Tensor):
        ids = ids.to(hidden.device)
    if type(head) is not nn.Linear:
        return head(hidden)[..., ids]
    # a few thousand rows of a large unembedding: many times faster
    bias = None if head.bias is None else head.bias[ids]
    return nn.functional.linear(hidden, head.weight[ids], bias)
