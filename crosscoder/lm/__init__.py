"""Everything that touches transformers: language models, pairs of them, and hooks into them."""

from crosscoder.lm.hooks import Hookpoint
from crosscoder.lm.load import LM
from crosscoder.lm.pair import Pair, Reading, load_pair
from crosscoder.lm.tiny import TinyLM

__all__ = ["LM", "Hookpoint", "Pair", "Reading", "TinyLM", "load_pair"]
