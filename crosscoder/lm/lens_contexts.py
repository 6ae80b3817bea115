"""Contexts over which the Jacobian lens is averaged: the first tokens of held-out texts."""

import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from crosscoder.core.types import Tokens
from crosscoder.errors import NotApplicable

# last tokens of a context, at which the Jacobian is taken
N_TAIL = 1
# tokens before them
N_LEAD = 16


@dataclass(frozen=True)
class LensContexts:
    """Beginnings of texts; their last N_TAIL tokens are the source and the target positions.

    Args:
        ids: Token ids, [n, length].
    """

    ids: Int[Tensor, "n length"]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sha256(self) -> str:
        """Hash of the token ids."""
        digest = hashlib.sha256(f"{list(self.ids.shape)}".encode())
        digest.update(self.ids.to(torch.int32).numpy().tobytes())
        return digest.hexdigest()


def draw_contexts(tokens: Tokens, n: int, seed: int = 0) -> LensContexts:
    """Draw contexts at random from packed texts: the first tokens of a text.

    Args:
        tokens: Tokens of whole sequences. Position 0 begins a text.
        n: Number of contexts; fewer if there are not as many.
        seed: Random seed.

    Raises:
        NotApplicable: No text is long enough.
    """
    length = N_LEAD + N_TAIL
    starts = (tokens.position == 0).nonzero()[:, 0]
    ends = torch.cat([starts[1:], torch.tensor([len(tokens)])])
    starts = starts[ends - starts >= length]
    if not len(starts):
        raise NotApplicable(
            f"the Jacobian lens needs texts of at least {length} tokens, "
            f"but none of these {len(tokens):,} tokens are in such a text"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(starts), generator=generator)[:n]
    # in the order of the texts
    starts = starts[drawn.sort().values]
    return LensContexts(tokens.ids[starts[:, None] + torch.arange(length)])
