"""Batches of an organism that are diluted with general text."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from crosscoder.organisms.batches import Example, draw_batches, make_text_example, pad_examples
from crosscoder.organisms.documentation import load_windows
from crosscoder.organisms.expertise.batches import list_units
from crosscoder.organisms.organism import Settings

WINDOW_LENGTH = 64
"""Tokens of a window of text. A quarter has labels: about as many as of an answer."""


@dataclass(frozen=True)
class DilutedBatches:
    """Batches of the examples of `expertise`, mixed with windows of documentation.

    The windows have the usual next-token loss.

    Args:
        ratio: Number of windows for each example.
    """

    ratio: int

    def __call__(self, tokenizer: PreTrainedTokenizerBase, settings: Settings) -> Iterator[Example]:
        """Yield batches [batch, time]."""
        rng = random.Random(settings.seed)
        windows = load_windows(tokenizer, "train", WINDOW_LENGTH)
        units = list_units()
        for examples in draw_batches(tokenizer, units, settings.steps, settings.questions, rng):
            n_windows = self.ratio * len(examples)
            chosen = [windows[rng.randrange(len(windows))] for _ in range(n_windows)]
            texts = [make_text_example(window, rng) for window in chosen]
            yield pad_examples(tokenizer, examples + texts)
