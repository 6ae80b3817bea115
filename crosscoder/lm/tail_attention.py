"""Attention of the last tokens of contexts, whose gradient stops at the tokens before them.

In the usual attention, keys and values of a KV cache and of new tokens are one tensor, and those of
a group of heads are copied for each head. A backward pass then computes gradients for the cache,
too, and adds up the copies, which takes longer than all matrix products of the layers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from crosscoder.lm.attention import replace_attention
from crosscoder.lm.types import PreTrainedModel

NAME = "crosscoder_tail"


@contextmanager
def stop_gradients_at_cache(model: PreTrainedModel) -> Iterator[None]:
    """Context manager: passes that continue a KV cache have no gradient with respect to it.

    Attention follows what most architectures do: scaled products, a soft cap and a softmax. Whether
    this is what a model does has to be measured.

    Raises:
        ValueError: The model's attention cannot be replaced.
    """
    from transformers import AttentionInterface

    has_known_attention = model.config._attn_implementation is not None
    if not has_known_attention or not model._can_set_attn_implementation():
        raise ValueError("the model's attention cannot be replaced")
    AttentionInterface.register(NAME, attend)
    with replace_attention(model, NAME):
        yield


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Return attention from new tokens to all tokens, as a function for transformers.

    Args:
        module: The attention layer.
        query: Queries of the new tokens, [batch, heads, new, d_head].
        key: Keys of all tokens, [batch, groups, all, d_head]; the new ones are the last.
        value: Values of all tokens, [batch, groups, all, d_value].
        attention_mask: Not used: new tokens see the cache and each other up to themselves.
        scaling: Factor of the scores; None: 1/√d_head.
        softcap: Largest score; None: no limit.
        unused: Other settings, e.g. dropout.

    Returns:
        [batch, new, heads, d_value], and no weights.
    """
    batch, n_heads, n_new, d_head = query.shape
    n_groups = key.shape[1]
    n_cached = key.shape[2] - n_new
    scale = d_head**-0.5 if scaling is None else scaling
    # heads of a group are further queries to the same keys
    queries = query.reshape(batch, n_groups, -1, d_head)
    cached_scores = queries @ key[:, :, :n_cached].detach().mT
    new_scores = queries @ key[:, :, n_cached:].mT
    scores = torch.cat([cached_scores, new_scores], -1) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if n_new > 1:
        is_later = torch.ones(n_new, key.shape[2], dtype=torch.bool, device=key.device)
        is_later = is_later.triu(n_cached + 1)
        scores = scores.unflatten(2, (-1, n_new)).masked_fill(is_later, -torch.inf).flatten(2, 3)
    in_full = torch.promote_types(query.dtype, torch.float32)
    weights = scores.softmax(-1, dtype=in_full).to(query.dtype)
    from_cache = weights[..., :n_cached] @ value[:, :, :n_cached].detach()
    from_new = weights[..., n_cached:] @ value[:, :, n_cached:]
    attended = (from_cache + from_new).view(batch, n_heads, n_new, -1)
    return attended.transpose(1, 2).contiguous(), None
