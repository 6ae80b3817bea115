"""Latents of two dictionaries that stand for the same thing, by when they are active.

    correlation   of the activations f_j and g_i over tokens (Pearson)
    Jaccard       tokens on which both are active / tokens on which either is

Codes come as sparse matrices [n_tokens, n_latents]; pairs that are never active together are 0 in both.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from crosscoder.sparse import Code, DenseCode


def matrix(codes: Iterable[Code]) -> sparse.csr_matrix:
    """Codes one below the other, [n_tokens, n_latents] in float64."""
    parts = []
    for code in codes:
        code = code.to_sparse() if isinstance(code, DenseCode) else code
        values, columns, starts = (
            x.cpu().numpy() for x in (code.values.double(), code.index.latents, code.index.starts)
        )
        parts.append(sparse.csr_matrix((values, columns, starts), shape=(len(code), code.n_latents)))
    return sparse.csr_matrix(sparse.vstack(parts))


@dataclass(frozen=True)
class Cofiring:
    """Of two dictionaries' codes on the same tokens: for each pair (ours, theirs), as sparse matrices [n_ours, n_theirs]."""

    correlation: sparse.csr_matrix
    jaccard: sparse.csr_matrix

    @classmethod
    def of(cls, ours: sparse.csr_matrix, theirs: sparse.csr_matrix) -> "Cofiring":
        """From both codes."""
        n, _ = ours.shape  # type: ignore[misc]
        active = [code.astype(bool).astype(np.float64) for code in (ours, theirs)]
        together, products = ((a.T @ b).tocsr() for a, b in (active, (ours, theirs)))
        for pairs in (
            together,
            products,
        ):  # the same pairs: where both are active, the product of activations is positive
            pairs.sort_indices()
        rows, columns = np.repeat(np.arange(together.shape[0]), np.diff(together.indptr)), together.indices
        counts = [np.asarray(one.sum(0)).ravel() for one in active]
        means = [np.asarray(code.mean(0)).ravel() for code in (ours, theirs)]
        squares = [np.asarray(code.multiply(code).mean(0)).ravel() for code in (ours, theirs)]
        deviations = [np.sqrt(np.maximum(s - m**2, 1e-300)) for s, m in zip(squares, means, strict=True)]
        covariance = products.data / n - means[0][rows] * means[1][columns]
        correlation = covariance / (deviations[0][rows] * deviations[1][columns])
        jaccard = together.data / (counts[0][rows] + counts[1][columns] - together.data)
        where = together.indices, together.indptr
        return cls(*(sparse.csr_matrix((data, *where), together.shape) for data in (correlation, jaccard)))

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """For each of our latents the one that correlates most with it: (correlation, which); 0 and −1 without any."""
        partner = np.asarray(self.correlation.argmax(axis=1)).ravel()
        value = self.at(partner)[0]
        return np.maximum(value, 0), np.where(value > 0, partner, -1)

    def at(self, partner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(correlation, Jaccard) of each of our latents with its partner."""
        rows = np.arange(len(partner))
        correlation, jaccard = (np.asarray(one[rows, partner]).ravel() for one in (self.correlation, self.jaccard))
        return correlation, jaccard
