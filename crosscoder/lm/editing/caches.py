"""KV caches under an edit: supported kinds, number of tokens, fingerprint of the content."""

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel, QuantizedCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin, StaticLayer

from crosscoder.errors import UserError

ONE_PASS = (
    "models with recurrent layers cannot continue by several tokens at once: "
    "give them the whole prompt in one pass"
)


def require_supported_cache(cache: Cache, model: PreTrainedModel) -> None:
    """Refuse a kind of cache that an edit cannot follow, or that changes the model's results.

    Raises:
        UserError: The cache is quantized, or static and the model does not support static caches.
    """
    if isinstance(cache, QuantizedCache) or not isinstance(cache, Cache):
        raise UserError(
            f"an edit cannot follow a {type(cache).__name__}: use a DynamicCache or a StaticCache"
        )
    is_static = any(isinstance(layer, StaticLayer) for layer in cache.layers)
    if is_static and not getattr(model, "_can_compile_fullgraph", False):
        raise UserError(
            f"{type(model).__name__} does not support static caches: "
            "use a DynamicCache (cache_implementation='dynamic')"
        )


def is_recurrent(cache: Cache) -> bool:
    """Return whether some layers store a recurrent state instead of tokens."""
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers)


def count_tokens(cache: Cache, n_expected: int) -> int:
    """Return the number of tokens in a cache.

    Args:
        cache: The cache.
        n_expected: Number that is assumed if the layers do not count their tokens.
    """
    try:
        return int(cache.get_seq_length())
    except ValueError:  # recurrent layers do not count their tokens
        return n_expected if cache.has_previous_state() else 0


def compute_fingerprint(cache: Cache) -> Tensor | None:
    """Return the last layer's keys of the last token, [batch, heads, width].

    They change when the rows of the cache are rearranged. None if no layer has keys.
    """
    if getattr(cache, "offloading", False) and torch.cuda.is_available():
        torch.cuda.synchronize()  # layers are on their way to the CPU
    for layer in reversed(cache.layers):
        keys = getattr(layer, "keys", None)
        if isinstance(keys, Tensor) and keys.dim() == 4 and keys.shape[2] > 0:
            n = int(layer.get_seq_length())  # pyright: ignore[reportAttributeAccessIssue]
            return keys[:, :, min(n, keys.shape[2]) - 1].clone()
    return None


def is_same_fingerprint(a: Tensor | None, b: Tensor | None) -> bool:
    """Return whether two fingerprints are equal; a missing one equals every other."""
    return a is None or b is None or torch.equal(a, b.to(a.device))
