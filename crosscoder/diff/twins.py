"""Whether what a latent writes into one source is written into the other by another latent, the trace of Latent Decoupling.

*Elsewhere*: for a latent whose norms lean to a source, the largest cosine of its decoder there with any other latent's
decoder in the other source. The direction may be the other model's, too, in other contexts; latent scaling looks only where
the latent is active.

*Twins* (Minder et al. 2025): a base-only and a chat-only latent, Δ_i < 1 − `exclusive` and Δ_j > `exclusive`, with
cos(d_i^base, d_j^chat) > `cosine`. Co-firing is the share of the tokens on which either is active that both are active on
(Jaccard).
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

AT_A_TIME = 1024  # latents whose cosines with all others are in memory together


class Twins:
    """Columns `elsewhere` (NaN for latents that do not lean), `twin` (a latent, or −1), `twin_cosine`, `twin_cofiring` (NaN
    without).

    Args:
        crosscoder: its sources `first` and `second` have equal width.
        lean: distance of Δ from ½ from which a latent leans.
        exclusive, cosine: what makes twins.
    """

    def __init__(
        self,
        crosscoder: Crosscoder,
        first: str,
        second: str,
        lean: float = 0.2,
        exclusive: float = 0.9,
        cosine: float = 0.9,
    ) -> None:
        norms = dict(zip(crosscoder.sources.names, crosscoder.decoder_norms().detach(), strict=True))
        delta = delta_norm(norms[first], norms[second])
        decoders = [normalize(training_decoder(crosscoder, name).detach(), dim=-1) for name in (first, second)]
        n = crosscoder.n_latents
        self.elsewhere = torch.full((n,), torch.nan)
        for (here, there), leans in zip(
            (decoders, decoders[::-1]), (delta > 0.5 + lean, delta < 0.5 - lean), strict=True
        ):
            for latents in leans.nonzero()[:, 0].split(AT_A_TIME):
                cosines = here[latents] @ there.T
                cosines[torch.arange(len(latents)), latents] = -1
                self.elsewhere[latents.cpu()] = cosines.amax(dim=1).cpu()
        sides = [(delta > exclusive).nonzero()[:, 0], (delta < 1 - exclusive).nonzero()[:, 0]]
        decoders = [decoder[side] for decoder, side in zip(decoders, sides, strict=True)]
        self.twin = torch.full((n,), -1)
        self.cosine = torch.full((n,), torch.nan)
        for here, there in ((0, 1), (1, 0)):
            if len(sides[here]) and len(sides[there]):
                best, at = (decoders[here] @ decoders[there].T).max(dim=1)
                found = best > cosine
                self.twin[sides[here][found].cpu()] = sides[there][at[found]].cpu()
                self.cosine[sides[here][found].cpu()] = best[found].cpu()
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
        columns: dict[str, Tensor] = {
            "elsewhere": self.elsewhere,
            "twin": self.twin,
            "twin_cosine": self.cosine,
            "twin_cofiring": cofiring,
        }
        return {name: column.numpy() for name, column in columns.items()}
