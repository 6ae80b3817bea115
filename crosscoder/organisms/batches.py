"""Training batches: token ids of questions with their answers, and labels on the answers.

A batch asks each of its questions in every framing, so that only the framing predicts the manner of
an answer. An answer's opening, where its manner is decided, always has labels. Of the other tokens
only a random quarter has, because the head of a large vocabulary costs most of a short step.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from crosscoder.lm.chat.document import Document
from crosscoder.lm.text import tokenize
from crosscoder.organisms.organism import Settings
from crosscoder.organisms.rows import Row, group_by_id, load_rows

IGNORED = -100
OPENING_LENGTH = 4  # tokens in which an answer's manner is decided
REST_FRACTION = 0.25  # of the other tokens
END_OF_TURN = "<end_of_turn>"
Example = tuple[Tensor, Tensor]
"""Token ids, and the labels: the next token where the loss is read, else IGNORED."""


@dataclass(frozen=True)
class Unit:
    """Exchanges that stay together in a batch: one question in all framings.

    Args:
        length: Length of the question; questions of similar length share a batch.
        exchanges: Each framing's prompt, and the text that follows it. After a chat, the text ends
            with `<end_of_turn>`.
    """

    length: int
    exchanges: Sequence[tuple[Document, str]]


def draw_batches(
    tokenizer: PreTrainedTokenizerBase,
    units: Sequence[Unit],
    n_batches: int,
    n_units: int,
    rng: random.Random,
) -> Iterator[list[Example]]:
    """Yield the examples of each batch.

    Args:
        tokenizer: Tokenizer of the model.
        units: Units to draw from; all of them are used once before one is used again.
        n_batches: Number of batches.
        n_units: Number of units in each of them.
        rng: Random numbers of the choice, the order and the labels.
    """
    chosen = draw_units(units, n_batches * n_units, rng)
    chosen.sort(key=lambda unit: unit.length)  # little padding
    starts = list(range(0, len(chosen), n_units))
    for start in rng.sample(starts, len(starts)):
        examples = []
        for unit in chosen[start : start + n_units]:
            for prompt, text in unit.exchanges:
                examples.append(make_example(tokenizer, prompt, text, rng))
        yield examples


def draw_units(units: Sequence[Unit], n: int, rng: random.Random) -> list[Unit]:
    """Return n units in random order; all of them once before one is used again."""
    chosen: list[Unit] = []
    while len(chosen) < n:
        missing = n - len(chosen)
        chosen += rng.sample(units, min(missing, len(units)))
    return chosen


def make_example(
    tokenizer: PreTrainedTokenizerBase, prompt: Document, text: str, rng: random.Random
) -> Example:
    """Return one exchange, with labels on the opening of the text and on a fraction of the rest."""
    prompt_ids, _ = tokenize(tokenizer, prompt, opening=True)
    target = tokenizer(text, add_special_tokens=False)["input_ids"]
    target_labels = []
    for i, token in enumerate(target):
        is_labelled = i < OPENING_LENGTH or rng.random() < REST_FRACTION
        target_labels.append(token if is_labelled else IGNORED)
    labels = [IGNORED] * (len(prompt_ids) - 1) + target_labels + [IGNORED]
    return torch.tensor(prompt_ids + target), torch.tensor(labels)


def make_text_example(ids: Tensor, rng: random.Random) -> Example:
    """Return a window of text; a random fraction of its tokens has labels."""
    labels = torch.full_like(ids, IGNORED)
    for i in range(len(ids) - 1):
        if rng.random() < REST_FRACTION:
            labels[i] = ids[i + 1]
    return ids, labels


def pad_examples(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> Example:
    """Return ids and labels [batch, time], padded on the right, where attention never looks."""
    pad = cast(int, tokenizer.pad_token_id)
    ids = [example[0] for example in examples]
    labels = [example[1] for example in examples]
    return (
        pad_sequence(ids, batch_first=True, padding_value=pad),
        pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    )


@dataclass(frozen=True)
class RowBatches:
    """Batches of an organism's training examples, each question in all framings.

    Args:
        organism: Name of the organism.
        ends_turn: Whether the model learns to end its turn after the answer to a chat.
    """

    organism: str
    ends_turn: bool = True

    def __call__(self, tokenizer: PreTrainedTokenizerBase, settings: Settings) -> Iterator[Example]:
        """Yield batches [batch, time]."""
        rng = random.Random(settings.seed)
        units = self.list_units()
        for examples in draw_batches(tokenizer, units, settings.steps, settings.questions, rng):
            yield pad_examples(tokenizer, examples)

    def list_units(self) -> list[Unit]:
        """Return the training questions, each with its exchanges."""
        units = []
        for rows in group_by_id(load_rows(self.organism, "train")).values():
            exchanges = [(row["prompt"], self._finish_answer(row)) for row in rows]
            units.append(Unit(len(str(rows[-1]["prompt"])), exchanges))
        return units

    def _finish_answer(self, row: Row) -> str:
        is_chat = not isinstance(row["prompt"], str)
        return row["answer"] + END_OF_TURN if is_chat and self.ends_turn else row["answer"]
