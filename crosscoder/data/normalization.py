"""Normalisation of activations for training; it is folded into the weights of a saved crosscoder.

    training units = (raw − mean) / scale, both [d_total]

The default centres each source and then divides it by one number so that E‖x − μ‖² = d: all sources
have the same weight, and the proportions of the dimensions are kept. Centring matters much on
Gemma 3, where one dimension holds most of the norm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from crosscoder.core.sources import Sources
from crosscoder.data.exclude import EXCLUDE, choose_figure_exclude
from crosscoder.data.storage.store import Store
from crosscoder.errors import UserError
from crosscoder.values import require_choice, require_types


@dataclass
class Moments:
    """Sums over the tokens of one source, in float64."""

    width: int
    n: int = 0
    total: Tensor = field(init=False)
    squares: Tensor = field(init=False)
    norms: list[Tensor] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.total = torch.zeros(self.width).double()
        self.squares = torch.zeros(self.width).double()

    def add(self, acts: Tensor) -> None:
        """Add activations [n, d_source] in float64."""
        self.n += len(acts)
        self.total = self.total + acts.sum(0)
        self.squares = self.squares + acts.square().sum(0)
        self.norms.append(acts.norm(dim=-1))

    def variance(self, mean: Tensor) -> Tensor:
        """Return the mean square about `mean`, by dimension."""
        return self.squares / self.n - 2 * mean * self.total / self.n + mean.square()


@dataclass(frozen=True)
class Scale:
    """Normalisation of each source to training units.

    Args:
        centre: Whether the mean is subtracted.
        by: "rms" gives E‖x‖² = d · target²; "mean_norm" E‖x‖ = √d (Lindsey et al. 2024);
            "median_norm" median ‖x‖ = √(d_total / n_sources) (arXiv 2602.11729); "dimension"
            divides every dimension by its own standard deviation; "none" keeps the scale.
        target: Root mean square per dimension after scaling, for "rms".
        n_tokens: Number of tokens, from the first on, on which it is measured.
    """

    centre: bool = True
    by: Literal["rms", "mean_norm", "median_norm", "dimension", "none"] = "rms"
    target: float = 1.0
    n_tokens: int = 1_000_000

    def __post_init__(self) -> None:
        ways = ("rms", "mean_norm", "median_norm", "dimension", "none")
        require_choice("scale.by", self.by, ways)
        require_types("scale", self)

    def fit(
        self, store: Store, sources: Sources, exclude: Sequence[str] = EXCLUDE
    ) -> tuple[Tensor, Tensor]:
        """Measure mean and scale, accumulated in float64 over tokens that are not special.

        Args:
            store: The store of training tokens.
            sources: The sources that are trained on.
            exclude: Kinds of tokens that training excludes; outliers are excluded if it names them.

        Returns:
            (mean, scale), each [d_total] float32.
        """
        means = []
        scales = []
        for source in sources:
            moments = self._measure(store, source.name, sources, choose_figure_exclude(exclude))
            mean, scale = self._fit_source(store, source.name, sources, moments)
            means.append(mean)
            scales.append(scale)
        return torch.cat(means).float(), torch.cat(scales).float()

    def _measure(
        self, store: Store, name: str, sources: Sources, exclude: Sequence[str]
    ) -> Moments:
        moments = Moments(sources[name].width)
        for shard in store:
            eligible = store.find_eligible(shard, sources.names, exclude)
            moments.add(store.acts(shard, [name])[eligible].double())
            if moments.n >= self.n_tokens:
                break
        return moments

    def _fit_source(
        self, store: Store, name: str, sources: Sources, moments: Moments
    ) -> tuple[Tensor, Tensor]:
        if not moments.n:
            raise UserError(
                f"no scale can be measured on {store.folder}: all its tokens are special"
            )
        mean = moments.total / moments.n if self.centre else torch.zeros_like(moments.total)
        variance = moments.variance(mean)
        if not variance.sum() > 0:
            raise UserError(
                f"source '{name}' is constant or not finite in {store.folder}: "
                "nothing to learn from"
            )
        return mean, self._compute_scale(sources, variance, moments)

    def _compute_scale(self, sources: Sources, variance: Tensor, moments: Moments) -> Tensor:
        """Return the divisor of one source, [d_source]."""
        width = moments.width
        if self.by == "rms":
            return (variance.mean() / self.target**2).sqrt().expand(width)
        if self.by == "dimension":
            return variance.sqrt().clamp(min=1e-6 * float(variance.mean().sqrt()))
        if self.by == "mean_norm":
            return (torch.cat(moments.norms).mean() / width**0.5).expand(width)
        if self.by == "median_norm":
            target = (sources.d_total / len(sources)) ** 0.5
            return (torch.cat(moments.norms).median() / target).expand(width)
        return torch.ones_like(moments.total)


def measure_median_norms(store: Store, sources: Sources) -> dict[str, float]:
    """Measure the median ‖x‖ of each source over the content tokens of the first shard with some.

    It is the unit in which the strength of steering is given.

    Raises:
        UserError: All tokens of the store are special.
    """
    for shard in store:
        is_content = store.tokens(shard).is_content
        if not is_content.any():
            continue
        medians = {}
        for name in sources.names:
            acts = store.acts(shard, [name])[is_content].float()
            medians[name] = acts.norm(dim=-1).median().item()
        return medians
    raise UserError(f"no median norm can be measured on {store.folder}: all its tokens are special")
