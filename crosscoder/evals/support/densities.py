"""Histogram of latents by density, the fraction of tokens on which a latent is active."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

DENSITY_EDGES = (1e-4, 1e-3, 1e-2, 1e-1)


def count_by_density(density: np.ndarray, edges: Sequence[float] = DENSITY_EDGES) -> list[int]:
    """Count the densities in each interval (low, high] between edges, and beyond both ends.

    Returns:
        One more count than there are edges; an edge belongs to the interval below it.
    """
    bins = np.searchsorted(np.asarray(edges), density)
    return np.bincount(bins, minlength=len(edges) + 1).tolist()


def label_intervals(edges: Sequence[float]) -> list[str]:
    """Return the labels of the intervals between edges."""
    return [f"{low:g} – {high:g}" for low, high in pairwise(edges)]
