"""Plain text on which an organism must not change: Python's documentation, in token windows."""

import pydoc_data.topics
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

EVALUATION_STRIDE = 3  # every third topic is used for evaluation


def load_windows(tokenizer: PreTrainedTokenizerBase, split: str, length: int) -> Tensor:
    """Return token ids [n, length]; each window begins with `<bos>`.

    Args:
        tokenizer: Tokenizer of the model.
        split: "train" or "heldout".
        length: Tokens in a window. What is left of a text after its last full window is dropped.
    """
    topics = sorted(pydoc_data.topics.topics.items())
    rows = []
    for i, (_, text) in enumerate(topics):
        is_heldout = i % EVALUATION_STRIDE == 0
        if is_heldout != (split == "heldout"):
            continue
        ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
        rows += [row for row in ids.split(length - 1) if len(row) == length - 1]
    windows = torch.stack(rows)
    bos = windows.new_full((len(windows), 1), cast(int, tokenizer.bos_token_id))
    return torch.cat([bos, windows], dim=1)
