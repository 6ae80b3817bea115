"""Replace the attention of a language model for some passes."""

from collections.abc import Iterator
from contextlib import contextmanager

from crosscoder.lm.types import PreTrainedModel


@contextmanager
def replace_attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Context manager: a model takes an attention that transformers knows by name."""
    usual = model.config._attn_implementation or "sdpa"
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)
