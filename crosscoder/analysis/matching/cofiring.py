"""Latents of two dictionaries that stand for the same thing, by when they are active.

    correlation   of the activations f_j and g_i over tokens (Pearson)
    Jaccard       tokens on which both are active / tokens on which either is

Codes are sparse matrices [n_tokens, n_latents]; pairs that are never active together are 0 in both.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from crosscoder.core.sparse import Code


def stack_codes(codes: Iterable[Code]) -> sparse.csr_matrix:
    """Stack codes into one matrix [n_tokens, n_latents] in float64."""
    blocks = []
    for code in codes:
        sparse_code = code.to_sparse()
        values = sparse_code.values.double().cpu().numpy()
        columns = sparse_code.index.latents.cpu().numpy()
        row_starts = sparse_code.index.starts.cpu().numpy()
        shape = (len(sparse_code), sparse_code.n_latents)
        blocks.append(sparse.csr_matrix((values, columns, row_starts), shape=shape))
    return sparse.csr_matrix(sparse.vstack(blocks))


@dataclass(frozen=True)
class Cofiring:
    """Co-firing of every pair (ours, theirs), as sparse matrices [n_ours, n_theirs].

    Args:
        correlation: Pearson correlation of the activations.
        jaccard: Jaccard index of the tokens on which they are active.
    """

    correlation: sparse.csr_matrix
    jaccard: sparse.csr_matrix

    @classmethod
    def from_codes(cls, ours: sparse.csr_matrix, theirs: sparse.csr_matrix) -> "Cofiring":
        """Compare two dictionaries' codes on the same tokens."""
        n_tokens, _ = ours.shape  # type: ignore[misc]
        our_activity = _Activity.from_code(ours)
        their_activity = _Activity.from_code(theirs)
        together = (our_activity.is_active.T @ their_activity.is_active).tocsr()
        products = (ours.T @ theirs).tocsr()
        # both hold the same pairs: where both are active, the product of activations is positive
        together.sort_indices()
        products.sort_indices()
        rows = np.repeat(np.arange(together.shape[0]), np.diff(together.indptr))
        columns = together.indices

        covariance = (
            products.data / n_tokens - our_activity.mean[rows] * their_activity.mean[columns]
        )
        correlation = covariance / (
            our_activity.deviation[rows] * their_activity.deviation[columns]
        )
        either = our_activity.count[rows] + their_activity.count[columns] - together.data
        jaccard = together.data / either

        def to_matrix(data: np.ndarray) -> sparse.csr_matrix:
            return sparse.csr_matrix((data, columns, together.indptr), together.shape)

        return cls(to_matrix(correlation), to_matrix(jaccard))

    def find_partners(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the largest correlation of each of our latents, and with which of theirs.

        0 and −1 for latents without a positive correlation.
        """
        partner = np.asarray(self.correlation.argmax(axis=1)).ravel()
        correlation, _ = self.read_pairs(partner)
        return np.maximum(correlation, 0), np.where(correlation > 0, partner, -1)

    def read_pairs(self, partner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (correlation, Jaccard) of each of our latents with its partner."""
        rows = np.arange(len(partner))
        correlation = np.asarray(self.correlation[rows, partner]).ravel()
        jaccard = np.asarray(self.jaccard[rows, partner]).ravel()
        return correlation, jaccard


@dataclass(frozen=True)
class _Activity:
    """Activity of each latent of one code: where, on how many tokens, mean, standard deviation."""

    is_active: sparse.csr_matrix
    count: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def from_code(cls, code: sparse.csr_matrix) -> "_Activity":
        is_active = sparse.csr_matrix(code.astype(bool).astype(np.float64))
        count = np.asarray(is_active.sum(0)).ravel()
        mean = np.asarray(code.mean(0)).ravel()
        mean_square = np.asarray(code.multiply(code).mean(0)).ravel()
        deviation = np.sqrt(np.maximum(mean_square - mean**2, 1e-300))
        return cls(is_active, count, mean, deviation)
