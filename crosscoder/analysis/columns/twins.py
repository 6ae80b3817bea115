"""Directions that a latent writes into one source and another latent into the other source.

They are the trace of Latent Decoupling.

*max_cross_cosine*: for a latent whose norms lean to one source, the largest cosine of its decoder
there with any other latent's decoder in the other source. The other model may have the direction in
other contexts; latent scaling looks only at tokens where the latent itself is active.

*Twins* (Minder et al. 2025): a base-only and a chat-only latent, Δ_i < 1 − `exclusive` and Δ_j >
`exclusive`, with cos(d_i^base, d_j^chat) > `cosine`. Their co-firing is the Jaccard index: tokens
on which both are active / tokens on which either is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from crosscoder.analysis.base import Batch, ColumnNeeds, StreamedColumn, TableContext
from crosscoder.analysis.columns.norms import training_decoder
from crosscoder.core.metrics import delta_norm
from crosscoder.core.model import Crosscoder
from crosscoder.values import require_number, require_types

LATENTS_PER_CHUNK = 1024  # latents whose cosines with all others are in memory together


@dataclass(frozen=True)
class Twins(StreamedColumn):
    """Columns `max_cross_cosine`, `twin` (a latent, or −1), `twin_cosine`, `twin_cofiring`.

    `max_cross_cosine` is NaN for latents that do not lean; the last two are NaN for latents without
    a twin.

    Args:
        lean: Distance of Δ from ½ from which a latent leans.
        exclusive: Δ above which a latent is exclusive to the first source; mirrored for the second.
        cosine: Cosine above which two exclusive latents are twins.
    """

    lean: float = 0.2
    exclusive: float = 0.9
    cosine: float = 0.9
    needs: ClassVar[ColumnNeeds] = ColumnNeeds(comparable_pair=True)

    def __post_init__(self) -> None:
        require_types("column.twins", self)
        require_number("column.twins.lean", self.lean, least=0, most=0.5)
        require_number("column.twins.exclusive", self.exclusive, least=0.5, most=1)
        require_number("column.twins.cosine", self.cosine, least=-1, most=1)

    def start(self, context: TableContext) -> "TwinCounts":
        crosscoder = context.crosscoder
        first, second = context.diff_pair
        norms = crosscoder.decoder_norms().detach()
        norm_of = dict(zip(crosscoder.sources.names, norms, strict=True))
        delta = delta_norm(norm_of[first], norm_of[second])
        first_decoder = _unit_decoder(crosscoder, first)
        second_decoder = _unit_decoder(crosscoder, second)

        leans_first = (delta > 0.5 + self.lean).nonzero()[:, 0]
        leans_second = (delta < 0.5 - self.lean).nonzero()[:, 0]
        cross_cosine = torch.full((crosscoder.n_latents,), torch.nan)
        cross_cosine[leans_first.cpu()] = max_cross_cosine(
            first_decoder, second_decoder, leans_first
        )
        cross_cosine[leans_second.cpu()] = max_cross_cosine(
            second_decoder, first_decoder, leans_second
        )

        first_only = (delta > self.exclusive).nonzero()[:, 0]
        second_only = (delta < 1 - self.exclusive).nonzero()[:, 0]
        twin, twin_cosine = match_twins(
            first_decoder, second_decoder, first_only, second_only, self.cosine
        )
        return TwinCounts(cross_cosine, twin, twin_cosine)


def _unit_decoder(crosscoder: Crosscoder, source: str) -> Tensor:
    return normalize(training_decoder(crosscoder, source).detach(), dim=-1)


def max_cross_cosine(
    decoder: Float[Tensor, "n_latents d_source"],
    other_decoder: Float[Tensor, "n_latents d_source"],
    latents: Int[Tensor, "chosen"],
) -> Float[Tensor, "chosen"]:
    """Return the largest cosine of each latent's decoder with other latents' other decoder.

    Args:
        decoder: Unit decoders of one source.
        other_decoder: Unit decoders of the other source.
        latents: Latents that lean to the first of these sources.
    """
    largest = []
    for chunk in latents.split(LATENTS_PER_CHUNK):
        cosines = decoder[chunk] @ other_decoder.T
        cosines[torch.arange(len(chunk)), chunk] = -1  # a latent is not compared with itself
        largest.append(cosines.amax(dim=1).cpu())
    return torch.cat(largest)


def match_twins(
    first_decoder: Float[Tensor, "n_latents d_source"],
    second_decoder: Float[Tensor, "n_latents d_source"],
    first_only: Int[Tensor, "a"],
    second_only: Int[Tensor, "b"],
    threshold: float,
) -> tuple[Int[Tensor, "n_latents"], Float[Tensor, "n_latents"]]:
    """Return every exclusive latent's twin and their cosine; −1 and NaN without a twin.

    Args:
        first_decoder: Unit decoders of the first source.
        second_decoder: Unit decoders of the second source.
        first_only: Latents that are exclusive to the first source.
        second_only: Latents that are exclusive to the second source.
        threshold: Smallest cosine of twins, exclusive.
    """
    twin = torch.full((len(first_decoder),), -1)
    cosine = torch.full((len(first_decoder),), torch.nan)
    if not len(first_only) or not len(second_only):
        return twin, cosine
    first = (first_only, first_decoder[first_only])
    second = (second_only, second_decoder[second_only])
    for (latents, own), (candidates, other) in ((first, second), (second, first)):
        best, place = (own @ other.T).max(dim=1)
        is_twin = best > threshold
        matched = latents[is_twin].cpu()
        twin[matched] = candidates[place[is_twin]].cpu()
        cosine[matched] = best[is_twin].cpu()
    return twin, cosine


class TwinCounts:
    """Counts of tokens on which twins are active, alone and together."""

    def __init__(
        self,
        cross_cosine: Float[Tensor, "n_latents"],
        twin: Int[Tensor, "n_latents"],
        twin_cosine: Float[Tensor, "n_latents"],
    ) -> None:
        self.cross_cosine = cross_cosine
        self.twin = twin
        self.twin_cosine = twin_cosine
        self.active = torch.zeros(len(twin), dtype=torch.int64)
        self.together = torch.zeros(len(twin), dtype=torch.int64)

    def update(self, batch: Batch) -> None:
        n_latents = len(self.active)
        rows = batch.code.index.rows.cpu()
        latents = batch.code.index.latents.cpu()
        self.active += torch.bincount(latents, minlength=n_latents)
        twin = self.twin[latents]
        has_twin = twin >= 0
        entries = rows * n_latents + latents
        twin_entries = rows[has_twin] * n_latents + twin[has_twin]
        is_together = torch.isin(twin_entries, entries)
        self.together += torch.bincount(latents[has_twin][is_together], minlength=n_latents)

    def columns(self) -> Mapping[str, Any]:
        has_twin = self.twin >= 0
        either = self.active + self.active[self.twin.clamp(min=0)] - self.together
        cofiring = torch.where(has_twin, self.together / either.clamp(min=1), torch.nan)
        columns: dict[str, Tensor] = {
            "max_cross_cosine": self.cross_cosine,
            "twin": self.twin,
            "twin_cosine": self.twin_cosine,
            "twin_cofiring": cofiring,
        }
        return {name: column.numpy() for name, column in columns.items()}
