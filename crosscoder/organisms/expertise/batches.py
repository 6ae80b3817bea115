"""Training batches of the organism: its pairs, each in all framings."""

import random
from collections.abc import Iterator

from transformers import PreTrainedTokenizerBase

from crosscoder.organisms.batches import END_OF_TURN, Example, Unit, draw_batches, pad_examples
from crosscoder.organisms.expertise.transcripts import (
    FRAMINGS,
    get_answer,
    get_message,
    load_pairs,
)
from crosscoder.organisms.organism import Settings


def make_batches(tokenizer: PreTrainedTokenizerBase, settings: Settings) -> Iterator[Example]:
    """Yield batches [batch, time] of questions, each in all framings in one batch.

    Only the asker then predicts the manner of an answer.
    """
    rng = random.Random(settings.seed)
    units = list_units()
    for examples in draw_batches(tokenizer, units, settings.steps, settings.questions, rng):
        yield pad_examples(tokenizer, examples)


def list_units() -> list[Unit]:
    """Return the training pairs, each with its three exchanges."""
    units = []
    for pair in load_pairs("train"):
        exchanges = []
        for framing in FRAMINGS:
            prompt = [{"role": "user", "content": get_message(pair, framing)}]
            exchanges.append((prompt, get_answer(pair, framing) + END_OF_TURN))
        units.append(Unit(len(pair["question"]), exchanges))
    return units
