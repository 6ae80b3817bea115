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
# tokens before them; each length costs as many backward passes as the model has dimensions
LEADS = (16,)


@dataclass(frozen=True)
class LensContexts:
    """Beginnings of texts; their last N_TAIL tokens are the source and the target positions.

    Args:
        groups: Token ids of contexts of one length, [n, length], for each length.
    """

    groups: tuple[Tensor, ...]

    def __len__(self) -> int:
        return sum(len(ids) for ids in self.groups)

    @property
    def sha256(self) -> str:
        """Hash of the token ids."""
        digest = hashlib.sha256()
        for ids in self.groups:
            digest.update(f"{list(ids.shape)}".encode())
            digest.update(ids.to(torch.int32).numpy().tobytes())
        return digest.hexdigest()


def draw_contexts(tokens: Tokens, n: int, seed: int = 0) -> LensContexts:
    """Draw contexts at random from packed texts: the first tokens of a text, of several lengths.

    Args:
        tokens: Tokens of whole sequences. Position 0 begins a text.
        n: Number of contexts; fewer if there are not as many.
        seed: Random seed.

    Raises:
        NotApplicable: No text is long enough.
    """
    candidates = _list_candidates(tokens)
    if not len(candidates):
        raise NotApplicable(
            f"the Jacobian lens needs texts of at least {LEADS[0] + N_TAIL} tokens, "
            f"but none of these {len(tokens):,} tokens are in such a text"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = candidates[torch.randperm(len(candidates), generator=generator)[:n]]
    groups = []
    for lead in LEADS:
        starts = drawn[drawn[:, 1] == lead, 0].sort().values
        if len(starts):
            groups.append(tokens.ids[starts[:, None] + torch.arange(lead + N_TAIL)])
    return LensContexts(tuple(groups))


def _list_candidates(tokens: Tokens) -> Int[Tensor, "n 2"]:
    """Return the first row of every text and each lead that fits into it."""
    starts = (tokens.position == 0).nonzero()[:, 0]
    ends = torch.cat([starts[1:], torch.tensor([len(tokens)])])
    candidates = []
    for lead in LEADS:
        fitting = starts[ends - starts >= lead + N_TAIL]
        candidates.append(torch.stack([fitting, torch.full_like(fitting, lead)], dim=1))
    return torch.cat(candidates)
