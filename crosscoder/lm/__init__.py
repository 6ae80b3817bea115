"""Language models, pairs of them, and hooks into them: everything that touches transformers.

Importing this package does not import transformers, which takes seconds; loading a model does.
"""

from crosscoder.core.reading import Reading
from crosscoder.lm.catalogue import load_pair
from crosscoder.lm.chat.messages import make_chat
from crosscoder.lm.hooks import Hookpoint
from crosscoder.lm.loading.load import LM
from crosscoder.lm.loading.tiny import TinyLM
from crosscoder.lm.loading.trust import remember_models
from crosscoder.lm.pair import Pair

__all__ = [
    "LM",
    "Hookpoint",
    "Pair",
    "Reading",
    "TinyLM",
    "load_pair",
    "make_chat",
    "remember_models",
]
