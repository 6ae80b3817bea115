"""Counts of the tokens of the vocabulary in stores."""

from collections.abc import Iterable

import torch
from jaxtyping import Int
from torch import Tensor

from crosscoder.data.storage.store import Store


def count_ids(stores: Iterable[Store]) -> Int[Tensor, "vocabulary"] | None:
    """Count every token id in stores, up to the largest id that occurs.

    None if the stores have no text: they have one tokenizer for each model, or activations without
    tokens, whose ids are all 0.
    """
    counts = torch.zeros(1, dtype=torch.int64)
    for store in stores:
        if store.meta.get("aligned"):
            return None
        for shard in store:
            ids = store.tokens(shard).ids.long()
            found = torch.bincount(ids, minlength=len(counts))
            found[: len(counts)] += counts
            counts = found
    return counts if counts[1:].any() else None
