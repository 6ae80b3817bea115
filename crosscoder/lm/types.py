"""Types of transformers for annotations, without importing transformers.

The import takes seconds, so only the functions that load or run a model import transformers. Type
checkers see the true types. At run time a model is an `nn.Module`, and the other types are not
checked.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase
else:
    from torch.nn import Module as PreTrainedModel

    Cache = Any
    PreTrainedTokenizerBase = Any

Tokenizer: TypeAlias = PreTrainedTokenizerBase

__all__ = ["Cache", "PreTrainedModel", "PreTrainedTokenizerBase", "Tokenizer"]
