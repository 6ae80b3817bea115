"""The material of all methods: the same held-out tokens, and both models on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool
from torch import Tensor

from crosscoder.analysis.spans import PairedReading
from crosscoder.core.sources import Sources
from crosscoder.core.types import SourceActs
from crosscoder.data.exclude import read_figure_exclude
from crosscoder.errors import NotApplicable
from crosscoder.evals.context import EvalContext
from crosscoder.evals.diffing.predictions import Predictions, compare_predictions
from crosscoder.evals.support.benchmark import make_contrast
from crosscoder.evals.support.common_ids import find_common_ids
from crosscoder.evals.support.encoding import read_acts
from crosscoder.evals.support.heldout import read_sequences
from crosscoder.lm import Pair


@dataclass(frozen=True)
class Material:
    """Held-out tokens of a run, its models, and labelled prompts for the methods that use labels.

    Args:
        context: Context of the eval.
        n_tokens: Number of held-out tokens on which the models' predictions are compared.
        context_length: Largest number of tokens of a context.
        least_count: Occurrences in the activations at hand from which a token may be named; 0:
            every token may be named.
        n_pairs: Number of pairs of training prompts that methods with labels see.
    """

    context: EvalContext
    n_tokens: int = 2048
    context_length: int = 32
    least_count: int = 5
    n_pairs: int = 64

    @property
    def diff_pair(self) -> tuple[str, str]:
        """Names of the two compared sources, chat first.

        Raises:
            NotApplicable: No two sources of equal width are compared.
        """
        sources = self.context.crosscoder.sources
        if sources.comparable is None:
            raise NotApplicable(
                "methods compare two sources of equal width, but the crosscoder reads "
                f"{sources.describe()}"
            )
        return sources.comparable

    @property
    def lms(self) -> tuple[str, str]:
        """Names of the two compared language models, the finetuned one first."""
        sources = self.context.crosscoder.sources
        first, second = self.diff_pair
        return sources[first].lm, sources[second].lm

    @property
    def pair(self) -> Pair:
        """The language models.

        Raises:
            NotApplicable: There are none, or they have different tokenizers.
        """
        return self.context.require_models("this method")

    # --- held-out tokens ---

    @cached_property
    def predictions(self) -> Predictions:
        """Differences of both models' predictions on held-out text and chats; computed once."""
        first, second = self.lms
        batches = list(read_sequences(self.context.heldout, self.n_tokens))
        return compare_predictions(
            self.pair,
            (first, second),
            batches,
            self.context.heldout.seq_len,
            self.context_length,
            self.named_ids,
        )

    @cached_property
    def named_ids(self) -> Bool[Tensor, "vocabulary"] | None:
        """A mask of the token ids that may be named; None for all."""
        mask, _ = find_common_ids(self.context, self.least_count)
        return mask

    def iter_pairs(self) -> Iterator[tuple[SourceActs, SourceActs]]:
        """Yield batches of activations of chat and of base on all held-out tokens.

        Tokens that the crosscoder was not trained on are left out.
        """
        crosscoder = self.context.crosscoder
        first, second = (crosscoder.sources[name] for name in self.diff_pair)
        exclude = read_figure_exclude(crosscoder.provenance)
        sources = Sources((first, second))
        for acts in read_acts(self.context.heldout, sources, exclude=exclude):
            chat, base = sources.split(acts).values()
            yield chat, base

    @cached_property
    def base_mean(self) -> Tensor:
        """Mean activation of base on the held-out tokens, [d_source]."""
        total = torch.zeros(())
        n_tokens = 0
        for _, base in self.iter_pairs():
            total = total + base.double().sum(0)
            n_tokens += len(base)
        return (total / n_tokens).float()

    # --- labels ---

    @cached_property
    def labelled_prompts(self) -> PairedReading:
        """The behaviour's training prompts in the framing and in the control, with activations.

        Raises:
            NotApplicable: There is no behaviour, or there are no models.
        """
        behaviour = self.context.require_behaviour("a method with labels")
        contrast = make_contrast(behaviour, "train", self.n_pairs)
        return contrast.read(self.context.crosscoder, self.pair)
