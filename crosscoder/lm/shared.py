"""The tokenizer that the models of a pair share, and the ids that each of them can read.

Models whose tokenizers agree on text (see agreement.py) get the same ids, from the tokenizer whose
chat template is used. This tokenizer may have tokens that another model's tokenizer lacks:

    the other embedding has a row for the id     the model reads this row, which was not trained on
                                                 such a token; a warning says so once
    the other embedding ends before the id       text with this token is refused, or left out and
                                                 counted where it is read row by row
"""

import copy
import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from crosscoder.errors import NotApplicable, UserError
from crosscoder.lm.agreement import agree_on_text, describe_tokens, find_template_ids
from crosscoder.lm.chat.document import Unusable
from crosscoder.lm.loading.load import LM
from crosscoder.lm.loading.tiny import TinyLM
from crosscoder.lm.loading.vocabulary import count_ids
from crosscoder.lm.types import PreTrainedModel, Tokenizer

log = logging.getLogger(__name__)


class SharedTokenizer:
    """The tokenizers of a pair's models, and whether one of them can serve all models.

    Args:
        lms: The models by name.
        is_alignable: Whether different tokenizers are allowed, because their tokens can be aligned.
    """

    def __init__(self, lms: Mapping[str, LM | TinyLM], is_alignable: bool = False) -> None:
        self.lms = lms
        self.is_alignable = is_alignable

    @cached_property
    def own_tokenizers(self) -> dict[str, Tokenizer]:
        """Each model's own tokenizer."""
        return {name: lm.load_tokenizer() for name, lm in self.lms.items()}

    @cached_property
    def tokenizers(self) -> dict[str, Tokenizer]:
        """Each model's own tokenizer; without a chat template it has another model's."""
        template = self.preferred_tokenizer.chat_template
        found = dict(self.own_tokenizers)
        for name, tokenizer in found.items():
            if template and not tokenizer.chat_template:
                found[name] = copy.copy(tokenizer)
                found[name].chat_template = template
        return found

    @cached_property
    def preferred_tokenizer(self) -> Tokenizer:
        """The tokenizer of the first model that has a chat template, or of the first model."""
        own = list(self.own_tokenizers.values())
        for tokenizer in own:
            if tokenizer.chat_template:
                return tokenizer
        return own[0]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer whose ids all models get.

        Raises:
            UserError: The models' tokenizers return different ids for the same text.
            NotApplicable: The same, but their tokens are aligned.
        """
        if self.is_aligned:
            raise NotApplicable(
                f"this needs one tokenizer for all models, but {self._explain_alignment()}"
            )
        if other := self.different_model:
            raise UserError(
                f"{next(iter(self.own_tokenizers))} and {other} have different tokenizers: their "
                "activations cannot be paired token by token; models.align=spans pairs the tokens "
                "that cover the same characters"
            )
        for name, ids in self.find_untrained_ids().items():
            log.warning(
                "%s's tokenizer lacks %s of the chat template: %s reads rows of its embedding for "
                "them that were not trained",
                name,
                describe_tokens(self.preferred_tokenizer, ids),
                name,
            )
        return self.preferred_tokenizer

    @property
    def is_aligned(self) -> bool:
        """True if the models' tokens are paired by the characters they cover.

        This needs an aligned pair whose tokenizers differ, or whose chat template has tokens that
        one of the models has no embedding for.
        """
        if not self.is_alignable:
            return False
        return self.different_model is not None or bool(self.find_unreadable_ids())

    def _explain_alignment(self) -> str:
        if self.different_model is not None:
            return f"{next(iter(self.own_tokenizers))} and {self.different_model} have their own"
        names = " and ".join(self.find_unreadable_ids())
        return f"{names} cannot read the tokens of the chat template"

    @cached_property
    def different_model(self) -> str | None:
        """The first model whose tokenizer does not agree with that of the first model."""
        first, *others = self.own_tokenizers
        for other in others:
            if not agree_on_text(self.own_tokenizers[first], self.own_tokenizers[other]):
                return other
        return None

    @cached_property
    def n_ids(self) -> dict[str, int]:
        """Number of token ids that each model has an embedding for."""
        return {name: count_ids(lm.build_skeleton()) for name, lm in self.lms.items()}

    @cached_property
    def unknown_ids(self) -> dict[str, set[int]]:
        """By model, the ids of the chat template that its own tokenizer does not have."""
        template_ids = find_template_ids(self.preferred_tokenizer)
        found = {}
        for name, tokenizer in self.own_tokenizers.items():
            if unknown := template_ids - set(tokenizer.get_vocab().values()):
                found[name] = unknown
        return found

    def find_unreadable_ids(self) -> dict[str, set[int]]:
        """Find, by model, the unknown ids that it has no embedding for."""
        found = {}
        for name, ids in self.unknown_ids.items():
            if unreadable := {i for i in ids if i >= self.n_ids[name]}:
                found[name] = unreadable
        return found

    def find_untrained_ids(self) -> dict[str, set[int]]:
        """Find, by model, the unknown ids that its embedding has a row for."""
        found = {}
        for name, ids in self.unknown_ids.items():
            if untrained := {i for i in ids if i < self.n_ids[name]}:
                found[name] = untrained
        return found

    def require_ids(self, ids: Sequence[int], names: Collection[str]) -> None:
        """Refuse token ids that one of these models has no embedding for.

        Raises:
            Unusable: With the token, and the sizes of the tokenizer and the embedding.
        """
        largest = max(ids, default=0)
        for name in names:
            if largest >= self.n_ids[name]:
                raise Unusable(self._describe_unreadable(name, ids))

    def guard(self, model: PreTrainedModel, name: str) -> None:
        """Make a model refuse ids past its embedding with a message that names the tokens.

        PyTorch's own error on a GPU names nothing.
        """
        n = count_ids(model)
        try:
            largest = max(self._get_reader(name).get_vocab().values(), default=0)
        except UserError:  # a model without a tokenizer gets its ids from elsewhere
            return
        if largest < n:
            return

        def require(_: Any, args: tuple[Any, ...]) -> None:
            if not (args and isinstance(args[0], Tensor) and args[0].numel()):
                return
            if int(args[0].max()) >= n:
                raise UserError(self._describe_unreadable(name, args[0].unique().tolist()))

        model.get_input_embeddings().register_forward_pre_hook(require)

    def _get_reader(self, name: str) -> Tokenizer:
        """Return the tokenizer whose ids a model gets."""
        return (
            self.preferred_tokenizer if self.different_model is None else self.own_tokenizers[name]
        )

    def _describe_unreadable(self, name: str, ids: Sequence[int]) -> str:
        """Describe the token ids that a model has no embedding for, and what to do."""
        n = self.n_ids[name]
        tokenizer = self._get_reader(name)
        unreadable = describe_tokens(tokenizer, {i for i in ids if i >= n})
        return (
            f"{name} has embeddings of {n:,} tokens, and the tokenizer has {len(tokenizer):,}: "
            f"{name} cannot read {unreadable} (use models.align=spans, or resize its embedding)"
        )
