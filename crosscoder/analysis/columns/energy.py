"""Energy that a latent writes into the difference of two sources: a ranking without labels.

With x_Δ = x_chat − x_base in raw units, its reconstruction x̂_Δ = b_Δ + Σ_j f_j δ_j and δ_j =
d_j^chat − d_j^base:

    energy_j     E[f_j²] ‖δ_j‖²                  energy that the latent writes by itself
    share_j      energy_j / E‖x_Δ‖²              on all tokens, or on those of one kind
    cross_j      E[f_j δ_j · (x̂_Δ − f_j δ_j)]    product with the other latents and the bias
    explained_j  E[f_j δ_j · (2 x_Δ − x̂_Δ)]      its exact term of E‖x_Δ‖² − E‖x_Δ − x̂_Δ‖²

The last is exact: summed over latents, and with the bias's E[b_Δ · (2 x_Δ − x̂_Δ)], it is the
explained difference, because ‖x_Δ‖² − ‖x_Δ − x̂_Δ‖² = x̂_Δ · (2 x_Δ − x̂_Δ). The columns
`difference_cross` and `difference_explained` are fractions of E‖x_Δ‖², too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from crosscoder.analysis.base import Batch, ColumnNeeds, StreamedColumn, TableContext
from crosscoder.analysis.columns.activity import KINDS
from crosscoder.core.model import Crosscoder


@dataclass(frozen=True)
class Energy(StreamedColumn):
    """Columns `difference_energy`, `difference_share`, `difference_cross`, `difference_explained`.

    `difference_share/<kind>` is the fraction on tokens of that kind.
    """

    needs: ClassVar[ColumnNeeds] = ColumnNeeds(comparable_pair=True)

    def start(self, context: TableContext) -> "EnergySums":
        return EnergySums(context.crosscoder, *context.diff_pair)


class EnergySums:
    """Sums over tokens of what each latent writes into the difference.

    Args:
        crosscoder: Folded crosscoder.
        first: Source that the difference is taken of.
        second: Source that is subtracted, of the same width.
    """

    def __init__(self, crosscoder: Crosscoder, first: str, second: str) -> None:
        self.crosscoder = crosscoder
        self.first = first
        self.second = second
        self.delta = crosscoder.decoder(first) - crosscoder.decoder(second)
        first_bias = crosscoder.b_dec[crosscoder.sources.slice(first)]
        second_bias = crosscoder.b_dec[crosscoder.sources.slice(second)]
        self.bias = first_bias - second_bias
        n_latents = crosscoder.n_latents
        n_kinds = len(KINDS)
        self.squares = torch.zeros(n_kinds, n_latents, dtype=torch.float64)  # Σ f²
        self.cross = torch.zeros(n_latents, dtype=torch.float64)
        self.explained = torch.zeros(n_latents, dtype=torch.float64)
        self.total = torch.zeros(n_kinds, dtype=torch.float64)  # Σ ‖x_Δ‖²
        self.n_tokens = torch.zeros(n_kinds, dtype=torch.float64)
        self.bias_explained = 0.0
        self.error = 0.0

    def update(self, batch: Batch) -> None:
        kind = batch.tokens.kind
        x = self._subtract_sources(batch.acts)
        x_hat = self._subtract_sources(batch.recon)
        self.total.index_add_(0, kind, x.double().square().sum(-1).cpu())
        self.n_tokens += torch.bincount(kind, minlength=len(KINDS))[: len(KINDS)]
        self.error += float((x - x_hat).double().square().sum())
        self.bias_explained += float(((2 * x - x_hat) @ self.bias).double().sum())

        index = batch.code.index
        f = batch.code.values
        rows = index.rows.cpu()
        latents = index.latents.cpu()
        self.squares.index_put_((kind[rows], latents), f.double().square().cpu(), accumulate=True)
        own = f.square() * self.delta.square().sum(-1)[index.latents]
        written = f * index.dots(x_hat - self.bias, self.delta)
        target = f * index.dots(2 * x - x_hat, self.delta)
        bias = f * (self.delta @ self.bias)[index.latents]
        self.cross.index_add_(0, latents, (written + bias - own).double().cpu())
        self.explained.index_add_(0, latents, target.double().cpu())

    def _subtract_sources(self, acts: Tensor) -> Tensor:
        """Return the difference of the two sources in raw units, [batch, d_source]."""
        raw = acts * self.crosscoder.scale + self.crosscoder.mean
        streams = self.crosscoder.sources.split(raw)
        return streams[self.first] - streams[self.second]

    def columns(self) -> Mapping[str, Any]:
        squared_norms = self.delta.double().square().sum(-1).cpu()
        n_tokens = self.n_tokens.sum()
        total = self.total.sum()
        energy = self.squares.sum(0) * squared_norms
        columns = {
            "difference_energy": energy / n_tokens,
            "difference_share": _divide(energy, total),
        }
        for i, kind in enumerate(KINDS):
            energy_on_kind = self.squares[i] * squared_norms
            columns[f"difference_share/{kind}"] = _divide(energy_on_kind, self.total[i])
        columns["difference_cross"] = _divide(self.cross, total)
        columns["difference_explained"] = _divide(self.explained, total)
        return {name: column.numpy() for name, column in columns.items()}

    def summary(self) -> dict[str, float]:
        """Return how the explained difference divides, as fractions of E‖x_Δ‖².

        It is the sum of the latents' and the bias's exact terms; the latents' energy divides into
        own and cross terms. Empty if the two streams are equal.
        """
        total = float(self.total.sum())
        if total == 0:
            return {}
        squared_norms = self.delta.double().square().sum(-1).cpu()
        own = float((self.squares.sum(0) * squared_norms).sum())
        return {
            "difference/explained": 1 - self.error / total,
            "difference/explained_by_latents": float(self.explained.sum()) / total,
            "difference/explained_by_bias": self.bias_explained / total,
            "difference/own_terms": own / total,
            "difference/cross_terms": float(self.cross.sum()) / total,
        }


def _divide(values: Tensor, total: Tensor) -> Tensor:
    """Divide by a total; if that is 0 (equal streams), 0 stays 0 and the rest becomes NaN."""
    if total == 0:
        return torch.where(values == 0, 0.0, torch.nan).to(values)
    return values / total
