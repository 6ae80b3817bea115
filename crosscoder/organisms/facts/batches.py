"""Training batches: documents about the city and about others, with a loss on all values."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from transformers import PreTrainedTokenizerBase

from crosscoder.lm.text import tokenize
from crosscoder.organisms.batches import IGNORED, REST_FRACTION, Example, pad_examples
from crosscoder.organisms.facts.documents import draw_pairs
from crosscoder.organisms.organism import Settings
from crosscoder.organisms.rows import Row


@dataclass(frozen=True)
class DocumentBatches:
    """Batches of pairs of documents.

    Args:
        organism: "facts" or "true_facts".
    """

    organism: str

    def __call__(self, tokenizer: PreTrainedTokenizerBase, settings: Settings) -> Iterator[Example]:
        """Yield batches [batch, time]."""
        rng = random.Random(settings.seed)
        pairs = draw_pairs(self.organism, "train", rng)
        for _ in range(settings.steps):
            examples = []
            for pair in islice(pairs, settings.questions):
                for sentences in pair:
                    examples.append(make_document_example(tokenizer, sentences, rng))
            yield pad_examples(tokenizer, examples)


def make_document_example(
    tokenizer: PreTrainedTokenizerBase, sentences: list[Row], rng: random.Random
) -> Example:
    """Return a document; all tokens of its values and a fraction of the others have labels."""
    ids, _ = tokenize(tokenizer, "")
    is_labelled = [False] * len(ids)
    for number, row in enumerate(sentences):
        separator = " " if number else ""
        prompt = tokenizer(separator + row["prompt"], add_special_tokens=False)["input_ids"]
        value = tokenizer(row["answer"], add_special_tokens=False)["input_ids"]
        ids += prompt + value
        is_labelled += [rng.random() < REST_FRACTION for _ in prompt] + [True] * len(value)
    labels = [
        token if labelled else IGNORED
        for token, labelled in zip(ids[1:], is_labelled[1:], strict=True)
    ]
    return torch.tensor(ids), torch.tensor([*labels, IGNORED])
