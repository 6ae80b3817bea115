"""Training batches of the organism: tokens of transcripts, and labels on their answers."""

import random
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from crosscoder.lm.text import tokenize
from crosscoder.organisms.expertise.transcripts import (
    FRAMINGS,
    get_answer,
    get_message,
    load_pairs,
)

IGNORED = -100
OPENING_LENGTH = 4  # tokens in which an answer's manner is decided
REST_FRACTION = 0.25  # of the other tokens
Example = tuple[Tensor, Tensor]
"""Token ids, and the labels: the next token where it belongs to an answer, else IGNORED."""


def make_batches(
    tokenizer: PreTrainedTokenizerBase, n_batches: int, n_questions: int, seed: int
) -> Iterator[Example]:
    """Yield batches [batch, time] of questions, each in all framings in one batch.

    Only the asker then predicts the manner of an answer.

    Args:
        tokenizer: Tokenizer of the model.
        n_batches: Number of batches.
        n_questions: Number of questions in each of them.
        seed: Random seed of the choice and the order.
    """
    rng = random.Random(seed)
    pad = cast(int, tokenizer.pad_token_id)
    chosen = rng.sample(load_pairs("train"), n_batches * n_questions)
    chosen.sort(key=lambda pair: len(pair["question"]))  # little padding
    starts = list(range(0, len(chosen), n_questions))
    for start in rng.sample(starts, len(starts)):
        ids = []
        labels = []
        for pair in chosen[start : start + n_questions]:
            for framing in FRAMINGS:
                question = get_message(pair, framing)
                reply = get_answer(pair, framing)
                example = make_example(tokenizer, question, reply, rng)
                ids.append(example[0])
                labels.append(example[1])
        yield (
            pad_sequence(ids, batch_first=True, padding_value=pad),
            pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        )


def make_example(
    tokenizer: PreTrainedTokenizerBase, question: str, reply: str, rng: random.Random
) -> Example:
    """Return one exchange up to the `<end_of_turn>` of its answer.

    The answer's opening and a random fraction of the rest have labels.
    """
    prompt, _ = tokenize(tokenizer, [{"role": "user", "content": question}], opening=True)
    target = tokenizer(f"{reply}<end_of_turn>", add_special_tokens=False)["input_ids"]
    target_labels = []
    for i, token in enumerate(target):
        is_labelled = i < OPENING_LENGTH or rng.random() < REST_FRACTION
        target_labels.append(token if is_labelled else IGNORED)
    labels = [IGNORED] * (len(prompt) - 1) + target_labels + [IGNORED]
    return torch.tensor(prompt + target), torch.tensor(labels)
