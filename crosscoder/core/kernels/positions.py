"""Positions of the few true entries of a large mask."""

import torch
from torch import Tensor


def find_positions(mask: Tensor) -> Tensor:
    """Return the positions of a mask's true entries in the flattened mask, rising."""
    flat = mask.view(-1)
    if mask.is_cuda or len(flat) % 8:
        return flat.nonzero()[:, 0]
    # almost all entries are false: eight at a time are skipped as one 64-bit word
    words = flat.view(torch.int64).nonzero()[:, 0]
    word, byte = flat.view(-1, 8)[words].nonzero(as_tuple=True)
    return 8 * words[word] + byte
