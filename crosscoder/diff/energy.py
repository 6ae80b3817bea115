"""How much of the difference between the contrast's sources a latent writes: the ranking that needs no labels.

With x_Δ = x_chat − x_base in raw units, its reconstruction x̂_Δ = b_Δ + Σ_j f_j δ_j and δ_j = d_j^chat − d_j^base:

    energy_j     E[f_j²] ‖δ_j‖²                 what it writes alone
    share_j      energy_j / E‖x_Δ‖²             on all tokens, or on those of one kind
    cross_j      E[f_j δ_j · (x̂_Δ − f_j δ_j)]    what its writing shares with the other latents and the bias
    explained_j  E[f_j δ_j · (2 x_Δ − x̂_Δ)]      its exact part of E‖x_Δ‖² − E‖x_Δ − x̂_Δ‖²

The last is exact: summed over latents, with E[b_Δ · (2 x_Δ − x̂_Δ)] of the bias, it is the explained difference, since
‖x_Δ‖² − ‖x_Δ − x̂_Δ‖² = x̂_Δ · (2 x_Δ − x̂_Δ). `difference_cross` and `difference_explained` are given as shares of E‖x_Δ‖², too.
"""

from collections.abc import Mapping
from typing import Any

import torch

from crosscoder.diff.activity import KINDS
from crosscoder.diff.base import Batch
from crosscoder.model import Crosscoder

TINY = 1e-30  # two streams that are one have no difference to share


class Energy:
    """See the module's docstring. Needs a contrast of two sources of equal width."""

    def __init__(self, crosscoder: Crosscoder, first: str, second: str) -> None:
        self.crosscoder, self.first, self.second = crosscoder, first, second
        self.delta = crosscoder.decoder(first) - crosscoder.decoder(second)
        self.bias = (
            crosscoder.b_dec[crosscoder.sources.slice(first)] - crosscoder.b_dec[crosscoder.sources.slice(second)]
        )
        n, kinds = crosscoder.n_latents, len(KINDS)
        self.squares = torch.zeros(kinds, n, dtype=torch.float64)  # Σ f²
        self.cross, self.explained = torch.zeros(2, n, dtype=torch.float64)
        self.total = torch.zeros(kinds, dtype=torch.float64)  # Σ ‖x_Δ‖²
        self.n_tokens = torch.zeros(kinds, dtype=torch.float64)
        self.bias_explained = self.error = 0.0

    def update(self, batch: Batch) -> None:
        index, kind = batch.code.index, batch.tokens.kind
        x, x_hat = (self._difference(part) for part in (batch.acts, batch.recon))
        self.total.index_add_(0, kind, x.double().square().sum(-1).cpu())
        self.n_tokens += torch.bincount(kind, minlength=len(KINDS))[: len(KINDS)]
        self.error += float((x - x_hat).double().square().sum())
        self.bias_explained += float(((2 * x - x_hat) @ self.bias).double().sum())
        f = batch.code.values
        rows, latents = index.rows.cpu(), index.latents.cpu()
        self.squares.index_put_((kind[rows], latents), f.double().square().cpu(), accumulate=True)
        own = f.square() * self.delta.square().sum(-1)[index.latents]
        written = f * index.dots(x_hat - self.bias, self.delta)
        target = f * index.dots(2 * x - x_hat, self.delta)
        bias = f * (self.delta @ self.bias)[index.latents]
        self.cross.index_add_(0, latents, (written + bias - own).double().cpu())
        self.explained.index_add_(0, latents, target.double().cpu())

    def _difference(self, part: torch.Tensor) -> torch.Tensor:
        raw = part * self.crosscoder.scale + self.crosscoder.mean
        streams = self.crosscoder.sources.split(raw)
        return streams[self.first] - streams[self.second]

    def columns(self) -> Mapping[str, Any]:
        squared = self.delta.double().square().sum(-1).cpu()
        n, total = self.n_tokens.sum(), self.total.sum().clamp(min=TINY)
        energy = self.squares.sum(0) * squared
        columns = {
            "difference_energy": energy / n,
            "difference_share": energy / total,
            **{
                f"difference_share/{kind}": self.squares[i] * squared / self.total[i].clamp(min=TINY)
                for i, kind in enumerate(KINDS)
            },
            "difference_cross": self.cross / total,
            "difference_explained": self.explained / total,
        }
        return {name: column.numpy() for name, column in columns.items()}

    def summary(self) -> dict[str, float]:
        """How the explained difference divides: into the latents' and the bias's exact parts, and own and cross terms."""
        total = float(self.total.sum().clamp(min=TINY))
        own = float((self.squares.sum(0) * self.delta.double().square().sum(-1).cpu()).sum())
        return {
            "difference/explained": 1 - self.error / total,
            "difference/explained_by_latents": float(self.explained.sum()) / total,
            "difference/explained_by_bias": self.bias_explained / total,
            "difference/own_terms": own / total,
            "difference/cross_terms": float(self.cross.sum()) / total,
        }
