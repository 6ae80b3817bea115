"""Dedicated feature crosscoder: some latents belong to one source alone. arXiv 2602.11729.

The first latents belong to the second source of the compared pair (base), the next ones to its
first source (chat), the rest to all sources. A latent of one source reads and writes that source
alone: the other blocks of its rows are exactly zero after every step. With `reads="all"` it reads
all sources, so it can tell what its source has from what all sources have in common.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from crosscoder.constraints.base import count_latents
from crosscoder.core.model import Crosscoder
from crosscoder.core.requirements import Requirements
from crosscoder.core.types import PerLatent
from crosscoder.errors import UserError
from crosscoder.values import require_choice, require_fraction


@dataclass(frozen=True)
class Partition:
    """Latents that are exclusive to one source.

    Args:
        exclusive: Fraction of the latents that belongs to either source; 5 % each as published.
        reads: Sources that exclusive latents read: their "own", as published, or "all".
    """

    requirements: ClassVar[Requirements] = Requirements(claims="the first latents")
    exclusive: float = 0.05
    reads: Literal["own", "all"] = "own"

    def __post_init__(self) -> None:
        require_choice("partition.reads", self.reads, ("own", "all"))
        require_fraction("partition.exclusive", self.exclusive)

    def members(self, crosscoder: Crosscoder) -> dict[str, slice]:
        """Return the exclusive latents of each source."""
        if not crosscoder.sources.diff_pair:
            raise UserError(
                "a partition gives latents to either of two compared sources: set models.diff_pair"
            )
        n = count_latents(self.exclusive, crosscoder, "partition.exclusive")
        if 2 * n > crosscoder.n_latents:
            raise UserError(
                f"partition.exclusive={self.exclusive} for each of two sources is more than all "
                "latents: expected at most 0.5"
            )
        chat, base = crosscoder.sources.diff_pair
        return {base: slice(0, n), chat: slice(n, 2 * n)}

    @torch.no_grad()
    def begin(self, crosscoder: Crosscoder) -> None:
        """Scale encoders of one source: they read it as strongly as others read all sources."""
        members = self.members(crosscoder)
        if self.reads == "own":
            for latents in members.values():
                crosscoder.W_enc[latents] *= len(crosscoder.sources)

    @torch.no_grad()
    def project(self, crosscoder: Crosscoder) -> None:
        for source, latents in self.members(crosscoder).items():
            for other in set(crosscoder.sources.names) - {source}:
                columns = crosscoder.sources.slice(other)
                crosscoder.W_dec[latents, columns] = 0
                if self.reads == "own":
                    crosscoder.W_enc[latents, columns] = 0

    def penalty(self, crosscoder: Crosscoder) -> PerLatent:
        return torch.ones(crosscoder.n_latents, device=crosscoder.W_dec.device)
