"""Plain text on which the organism is to stay what it was: Python's own documentation, cut into windows of tokens."""

import pydoc_data.topics
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

EVALUATION_SHARE = 3  # every third topic is kept for evaluation


def windows(tokenizer: PreTrainedTokenizerBase, split: str, length: int) -> Tensor:
    """`[n, length]` token ids, each window starting with `<bos>`; `split` is `train` or `heldout`."""
    topics = sorted(pydoc_data.topics.topics.items())
    texts = [text for i, (_, text) in enumerate(topics) if (i % EVALUATION_SHARE == 0) == (split == "heldout")]
    rows = []
    for text in texts:
        ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
        rows += [row for row in ids.split(length - 1) if len(row) == length - 1]
    body = torch.stack(rows)
    return torch.cat([body.new_full((len(body), 1), cast(int, tokenizer.bos_token_id)), body], dim=1)
