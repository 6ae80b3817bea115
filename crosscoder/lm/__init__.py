"""Everything that touches transformers: language models, pairs of them, and hooks into them."""

from crosscoder.lm.load import LM

__all__ = ["LM"]
