"""Percentile bootstrap over prompts: how much a figure varies with other prompts of the same kind.

`scipy.stats.bootstrap` returns NaN as soon as the statistic of one resample is undefined, e.g. a
ratio whose denominator is 0. Here such resamples are left out.
"""

from collections.abc import Callable

import numpy as np

N_RESAMPLES = 2000


def bootstrap_interval(
    statistic: Callable[..., np.ndarray],
    *columns: np.ndarray,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
) -> tuple[float, float]:
    """Return the 95 % interval of a statistic of prompts.

    Args:
        statistic: Function of columns [n_resamples, prompts] that returns one value per row.
        columns: Values per prompt, each [prompts]; a prompt is drawn with its entries of all
            columns.
        seed: Random seed of the resamples.
        n_resamples: Number of resamples.
    """
    n = len(columns[0])
    drawn = np.random.default_rng(seed).integers(0, n, (n_resamples, n))
    resamples = [np.asarray(column, dtype=float)[drawn] for column in columns]
    values = statistic(*resamples)
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean of values per prompt and its 95 % interval, (mean, low, high)."""
    values = np.asarray(values)
    low, high = bootstrap_interval(lambda resamples: resamples.mean(-1), values, seed=seed)
    return float(np.mean(values)), low, high
