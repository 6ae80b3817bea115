"""Report how many of a store's tokens are outliers, and how much of its variance they hold."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from crosscoder.core.sources import Sources
from crosscoder.data.exclude import OUTLIER, choose_figure_exclude, is_outlier
from crosscoder.data.storage.store import Store

log = logging.getLogger(__name__)
MANY_OUTLIERS = 0.05  # fraction of the tokens from which outliers are no longer the exception
HIGH_NORM = 5.0  # times the median norm: large, but not yet an outlier
MUCH_VARIANCE = 0.1  # fraction of the variance


@dataclass(frozen=True)
class Outliers:
    """Tokens of a store whose norm is large in any of some sources.

    Args:
        n: Number of these tokens.
        n_tokens: Number of tokens that were looked at.
        variance: Fraction of Σ‖x‖² that they hold, by source.
    """

    n: int
    n_tokens: int
    variance: dict[str, float]

    @classmethod
    def from_store(
        cls,
        store: Store,
        sources: Sources,
        threshold: float = OUTLIER,
        exclude: Sequence[str] = ("special",),
    ) -> "Outliers":
        """Count tokens by their norms alone.

        Args:
            store: The store.
            sources: Sources that are looked at.
            threshold: A token counts if its norm is above this multiple of the median norm.
            exclude: Kinds of tokens that are not looked at.
        """
        n = 0
        n_tokens = 0
        names = store.sources.required_sources(sources.names).names
        total = dict.fromkeys(names, 0.0)
        of_outliers = dict.fromkeys(names, 0.0)
        for shard in store:
            eligible = store.find_eligible(shard, sources.names, exclude)
            norms = {name: store.norms(shard, name) for name in names}
            is_high = torch.zeros_like(eligible)
            for name in names:
                is_high |= eligible & is_outlier(norms[name], threshold * store.median_norm(name))
            n += int(is_high.sum())
            n_tokens += int(eligible.sum())
            for name in names:
                squares = norms[name].double().square()
                total[name] += float(squares[eligible].sum())
                of_outliers[name] += float(squares[is_high].sum())
        variance = {}
        for name in names:
            variance[name] = of_outliers[name] / total[name] if total[name] else 0.0
        return cls(n, n_tokens, variance)

    @property
    def fraction(self) -> float:
        """Fraction of the tokens."""
        return self.n / max(self.n_tokens, 1)

    def describe(self) -> str:
        """Return e.g. `158 tokens (0.055%) with 5.7% of base's variance about 0`."""
        if not self.n:
            return "none"
        fractions = [f"{fraction:.1%} of {name}'s" for name, fraction in self.variance.items()]
        return (
            f"{self.n:,} tokens ({self.fraction:.3%}) with {', '.join(fractions)} variance about 0"
        )


def warn_of_outliers(store: Store, sources: Sources, exclude: Sequence[str]) -> None:
    """Warn if losses and figures would mainly measure a few tokens of large norm.

    These are outliers that are not excluded, and tokens just below the outlier threshold. Outliers
    that are excluded are mentioned only if they are so many that they may be the subject of the
    text.
    """
    found = Outliers.from_store(store, sources)
    description = (
        f"{store.folder} has outliers (norm above {OUTLIER:g} × the median of their source): "
        f"{found.describe()}"
    )
    if found.n and "outlier" not in exclude:
        log.warning(
            "%s; they dominate losses and FVE; exclude=[special,outlier] leaves them out",
            description,
        )
        return
    if found.fraction > MANY_OUTLIERS:
        log.warning(
            "%s; they are left out, though they are many; exclude=[special] keeps them",
            description,
        )
    high = Outliers.from_store(store, sources, HIGH_NORM, choose_figure_exclude(exclude))
    if high.fraction < MANY_OUTLIERS and max(high.variance.values()) > MUCH_VARIANCE:
        log.warning(
            "%s has tokens with norms from %g to %g × the median of their source, "
            "which are not outliers: %s; they dominate losses and FVE",
            store.folder,
            HIGH_NORM,
            OUTLIER,
            high.describe(),
        )


def count_excluded(store: Store, sources: Sources, exclude: Sequence[str]) -> dict[str, int]:
    """Count the special tokens and the outliers that figures exclude, for the meta of results."""
    n_kept = 0
    n_special = 0
    for shard in store:
        eligible = store.find_eligible(shard, sources.names, choose_figure_exclude(exclude))
        n_kept += int(eligible.sum())
        n_special += int((~store.tokens(shard).is_content).sum())
    return {"special": n_special, "outlier": len(store) - n_special - n_kept}
