"""Undo what llama.cpp changes in weights when it writes a GGUF file, one function per architecture.

Each function gets a weight's name in transformers, its values in the file, and the model's config.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

Weight = Float[Tensor, "..."]
Restore = Callable[[str, Weight, Mapping[str, Any]], Weight]


def restore_gemma3(name: str, weight: Weight, config: Mapping[str, Any]) -> Weight:
    """Return a weight of Gemma 3, whose norms multiply by 1 + weight: the file has the sum."""
    return weight - 1 if name.endswith("norm.weight") else weight


def restore_llama(name: str, weight: Weight, config: Mapping[str, Any]) -> Weight:
    """Return a weight of Llama, whose rotary embedding turns dimensions i and i + d/2 of a head.

    llama.cpp turns 2i and 2i + 1, so the file has the rows of queries and keys in that order.
    """
    if name.endswith("q_proj.weight"):
        n_heads = config["num_attention_heads"]
    elif name.endswith("k_proj.weight"):
        n_heads = config["num_key_value_heads"]
    else:
        return weight
    pairs = weight.view(n_heads, -1, 2, weight.shape[-1])
    return pairs.transpose(1, 2).reshape(weight.shape)
