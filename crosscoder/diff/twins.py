"""Twins: a base-only and a chat-only latent that write the same thing, the trace of Latent Decoupling (Minder et al. 2025).

A pair (i, j) with Δ_i < 1 − `exclusive`, Δ_j > `exclusive` and cos(d_i^base, d_j^chat) > `cosine`. Co-firing is the share of the tokens on
which either is active that both are active on (Jaccard): decoupled twins fire in different contexts.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscoder.diff.base import Batch
from crosscoder.diff.norms import training_decoder
from crosscoder.metrics import delta_norm
from crosscoder.model import Crosscoder


class Twins:
    """Columns `twin` (a latent, or −1), `twin_cosine`, `twin_cofiring` (NaN without a twin)."""

    def __init__(
        self, crosscoder: Crosscoder, first: str, second: str, exclusive: float = 0.9, cosine: float = 0.9
    ) -> None:
        norms = dict(zip(crosscoder.sources.names, crosscoder.decoder_norms().detach(), strict=True))
        delta = delta_norm(norms[first], norms[second])
        sides = [(delta > exclusive).nonzero()[:, 0], (delta < 1 - exclusive).nonzero()[:, 0]]
        decoders = [
            normalize(training_decoder(crosscoder, name).detach()[side], dim=-1)
            for name, side in zip((first, second), sides, strict=True)
        ]
        n = crosscoder.n_latents
        self.twin = torch.full((n,), -1)
        self.cosine = torch.full((n,), torch.nan)
        for here, there in ((0, 1), (1, 0)):
            if len(sides[here]) and len(sides[there]):
                best, at = (decoders[here] @ decoders[there].T).max(dim=1)
                found = best > cosine
                self.twin[sides[here][found]] = sides[there][at[found]].cpu()
                self.cosine[sides[here][found]] = best[found].cpu()
        self.active, self.together = torch.zeros(2, n, dtype=torch.int64)

    def update(self, batch: Batch) -> None:
        index = batch.code.index
        rows, latents = index.rows.cpu(), index.latents.cpu()
        self.active += torch.bincount(latents, minlength=len(self.active))
        twin = self.twin[latents]
        has = twin >= 0
        keys = rows * len(self.active) + latents  # rising
        found = torch.isin(rows[has] * len(self.active) + twin[has], keys)
        self.together += torch.bincount(latents[has][found], minlength=len(self.active))

    def columns(self) -> Mapping[str, Any]:
        twin = self.twin.clamp(min=0)
        either = self.active + self.active[twin] - self.together
        cofiring = torch.where(self.twin >= 0, self.together / either.clamp(min=1), torch.nan)
        columns: dict[str, Tensor] = {"twin": self.twin, "twin_cosine": self.cosine, "twin_cofiring": cofiring}
        return {name: column.numpy() for name, column in columns.items()}
