"""Dedicated feature crosscoder: some latents belong to one source alone, in encoder and decoder. arXiv 2602.11729.

The first latents are the contrast's second source's (base), the next ones its first one's (chat), the rest everybody's. A
latent of one source reads and writes it alone: the other blocks of its rows are exactly zero after every step. One that reads
all sources instead can tell what its source has from what they have in common.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from crosscoder.constraints.base import share_of
from crosscoder.errors import UserError
from crosscoder.model import Crosscoder
from crosscoder.types import PerLatent


@dataclass(frozen=True)
class Partition:
    """See the module's docstring.

    Args:
        exclusive: share of the latents that belong to either source; the published 5 % each.
        reads: what latents of one source read: their "own" source, as published, or "all".
    """

    claims: ClassVar[str] = "the first latents"
    exclusive: float = 0.05
    reads: Literal["own", "all"] = "own"

    def __post_init__(self) -> None:
        if self.reads not in ("own", "all"):
            raise UserError(f"latents of a partition read their own source or all, not {self.reads!r}")

    def members(self, crosscoder: Crosscoder) -> dict[str, slice]:
        """Which latents belong to which source alone."""
        if not crosscoder.sources.contrast:
            raise UserError("a partition needs two contrasted sources: it gives some latents to either of them")
        n = share_of(self.exclusive, crosscoder, "partition.exclusive")
        if 2 * n > crosscoder.n_latents:
            raise UserError(f"partition.exclusive={self.exclusive} of either source leaves no latents to both")
        chat, base = crosscoder.sources.contrast
        return {base: slice(0, n), chat: slice(n, 2 * n)}

    @torch.no_grad()
    def begin(self, crosscoder: Crosscoder) -> None:
        """Latents that read one source read it as strongly as the others read all of theirs together."""
        for latents in self.members(crosscoder).values() if self.reads == "own" else ():
            crosscoder.W_enc[latents] *= len(crosscoder.sources)

    @torch.no_grad()
    def project(self, crosscoder: Crosscoder) -> None:
        for source, latents in self.members(crosscoder).items():
            for other in set(crosscoder.sources.names) - {source}:
                part = crosscoder.sources.slice(other)
                crosscoder.W_dec[latents, part] = 0
                if self.reads == "own":
                    crosscoder.W_enc[latents, part] = 0

    def penalty(self, crosscoder: Crosscoder) -> PerLatent:
        return torch.ones(crosscoder.n_latents, device=crosscoder.W_dec.device)
