"""Activity of a latent: how often, how strongly, on which kind of tokens, how far into a text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crosscoder.analysis.base import Batch, StreamedColumn, TableContext
from crosscoder.core.types import Kind

KINDS = Kind.NAMES[: Kind.SPECIAL]
# ranges of the position in a piece of text, and the first position of each
POSITIONS = {"0-3": 0, "4-15": 4, "16-63": 16, "64+": 64}
# bins of the histogram: each is a factor of √2 wide, and begins at 2^(exponent / 2)
FIRST_EXPONENT = -24
LAST_EXPONENT = 40
N_BINS = LAST_EXPONENT - FIRST_EXPONENT + 1


@dataclass(frozen=True)
class Activity(StreamedColumn):
    """Columns `dead`, `n_active`, `density`, `mean`, `mean_active`, `spread`, `max` and others.

    `mean` is over all tokens, `mean_active` over those on which the latent is active. `spread` is
    the standard deviation where it is active, in units of `mean_active`. `density/<kind>` is the
    density on tokens of that kind. `template_share` and `position/<range>` are fractions of the
    latent's summed activation. `histogram/<low>` counts the tokens with an activation from `low`
    to √2 · `low`; there are columns for the bins that any latent uses. A latent is dead if it is
    never active on these tokens.
    """

    def start(self, context: TableContext) -> "ActivitySums":
        return ActivitySums(context.crosscoder.n_latents)


class ActivitySums:
    """Sums of activations by latent, kind of token and position."""

    def __init__(self, n_latents: int) -> None:
        self.counts = torch.zeros(len(KINDS), n_latents, dtype=torch.int64)
        self.mass = torch.zeros(len(KINDS), n_latents, dtype=torch.float64)
        self.by_position = torch.zeros(len(POSITIONS), n_latents, dtype=torch.float64)
        self.squares = torch.zeros(n_latents, dtype=torch.float64)
        self.max = torch.zeros(n_latents)
        self.histogram = torch.zeros(N_BINS, n_latents, dtype=torch.int32)
        self.n_tokens = torch.zeros(len(KINDS), dtype=torch.int64)
        self.range_starts = torch.tensor(list(POSITIONS.values()))

    def update(self, batch: Batch) -> None:
        rows = batch.code.index.rows.cpu()
        latents = batch.code.index.latents.cpu()
        values = batch.code.values.cpu()
        kind = batch.tokens.kind
        bins = torch.bucketize(batch.tokens.position, self.range_starts, right=True) - 1
        self.n_tokens += torch.bincount(kind, minlength=len(KINDS))[: len(KINDS)]
        self.counts.index_put_((kind[rows], latents), torch.ones_like(latents), accumulate=True)
        self.mass.index_put_((kind[rows], latents), values.double(), accumulate=True)
        self.by_position.index_put_((bins[rows], latents), values.double(), accumulate=True)
        self.squares.index_add_(0, latents, values.double().square())
        self.max.scatter_reduce_(0, latents, values.float(), "amax")
        self._count_activations(latents, values)

    def _count_activations(self, latents: Tensor, values: Tensor) -> None:
        """Add activations to the histogram; the outermost bins also hold what lies beyond them."""
        is_active = values > 0
        exponents = (2 * values[is_active].double().log2()).floor().long()
        bins = exponents.clamp(FIRST_EXPONENT, LAST_EXPONENT) - FIRST_EXPONENT
        ones = torch.ones(len(bins), dtype=torch.int32)
        self.histogram.index_put_((bins, latents[is_active]), ones, accumulate=True)

    def columns(self) -> Mapping[str, Any]:
        counts = self.counts.sum(0)
        mass = self.mass.sum(0)
        n_tokens = int(self.n_tokens.sum())
        positive_mass = mass.clamp(min=1e-30)
        relative_variance = self.squares * counts / mass.square().clamp(min=1e-30) - 1

        columns: dict[str, Tensor] = {
            "dead": counts == 0,
            "n_active": counts,
            "density": counts / n_tokens,
        }
        for i, kind in enumerate(KINDS):
            columns[f"density/{kind}"] = self.counts[i] / self.n_tokens[i].clamp(min=1)
        columns["mean"] = mass / n_tokens
        columns["mean_active"] = mass / counts.clamp(min=1)
        columns["spread"] = relative_variance.clamp(min=0).sqrt()
        columns["max"] = self.max
        columns["template_share"] = self.mass[Kind.TEMPLATE] / positive_mass
        for name, mass_in_range in zip(POSITIONS, self.by_position, strict=True):
            columns[f"position/{name}"] = mass_in_range / positive_mass
        columns |= self._read_histogram()
        return {name: column.numpy() for name, column in columns.items()}

    def _read_histogram(self) -> dict[str, Tensor]:
        """Return the bins from the first to the last one that any latent uses, by column."""
        used = self.histogram.any(1).nonzero()[:, 0].tolist()
        if not used:
            return {}
        columns = {}
        for place in range(used[0], used[-1] + 1):
            low = 2 ** ((place + FIRST_EXPONENT) / 2)
            columns[f"histogram/{low:.3g}"] = self.histogram[place]
        return columns
