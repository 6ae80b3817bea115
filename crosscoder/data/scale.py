"""Normalisation of activations for training, folded into the weights when a crosscoder is saved.

    training units = (raw − mean) / scale, both [d_total]

The default centres and then scales each source by one number so that E‖x − μ‖² = d: sources count alike, dimensions keep
their proportions. On Gemma 3 centring is worth much, because one dimension holds most of the norm.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crosscoder.data.store import Store
from crosscoder.errors import UserError
from crosscoder.sources import Sources


@dataclass(frozen=True)
class Scale:
    """How activations are brought to training units, per source.

    Args:
        centre: subtract the mean.
        by: "rms" gives E‖x‖² = d · target²; "mean_norm" E‖x‖ = √d (Lindsey et al. 2024); "median_norm" gives median
            ‖x‖ = √(d_total / n_sources) (arXiv 2602.11729);
            "dimension" divides every dimension by its own standard deviation; "none" leaves the scale alone.
        target: root mean square per dimension after scaling, for "rms".
        n_tokens: on how many of the first tokens it is measured.
    """

    centre: bool = True
    by: Literal["rms", "mean_norm", "median_norm", "dimension", "none"] = "rms"
    target: float = 1.0
    n_tokens: int = 1_000_000

    def __post_init__(self) -> None:
        if self.by not in ("rms", "mean_norm", "median_norm", "dimension", "none"):
            raise UserError(f"scale by rms, mean_norm, median_norm, dimension or none, not '{self.by}'")

    def fit(self, store: Store, sources: Sources) -> tuple[Tensor, Tensor]:
        """(mean, scale), each [d_total] float32, accumulated in float64 over tokens that are not special."""
        parts = [self._fit_source(store, source.name, sources) for source in sources]
        mean, scale = (torch.cat(column).float() for column in zip(*parts, strict=True))
        return mean, scale

    def _fit_source(self, store: Store, name: str, sources: Sources) -> tuple[Tensor, Tensor]:
        width = sources[name].width
        n, total, squares, norms = 0, torch.zeros(width).double(), torch.zeros(width).double(), []
        for shard in store:
            acts = store.acts(shard, [name])[store.tokens(shard).ordinary].double()
            n, total, squares = n + len(acts), total + acts.sum(0), squares + acts.square().sum(0)
            norms.append(acts.norm(dim=-1))
            if n >= self.n_tokens:
                break
        mean = total / n if self.centre else torch.zeros_like(total)
        variance = squares / n - 2 * mean * total / n + mean.square()
        if not variance.sum() > 0:
            raise UserError(f"source '{name}' is constant or not finite in {store.folder}: nothing to learn from")
        if self.by == "rms":
            scale = (variance.mean() / self.target**2).sqrt().expand(width)
        elif self.by == "dimension":
            scale = variance.sqrt().clamp(min=1e-6 * float(variance.mean().sqrt()))
        elif self.by == "mean_norm":
            scale = (torch.cat(norms).mean() / width**0.5).expand(width)
        elif self.by == "median_norm":
            scale = (torch.cat(norms).median() / (sources.d_total / len(sources)) ** 0.5).expand(width)
        else:
            scale = torch.ones_like(total)
        return mean, scale


def median_norms(store: Store, sources: Sources) -> dict[str, float]:
    """Median ‖x‖ by source over the first shard's tokens that are not special: the unit in which steering is strong or weak."""
    ordinary = store.tokens(0).ordinary
    return {name: store.acts(0, [name])[ordinary].float().norm(dim=-1).median().item() for name in sources.names}
