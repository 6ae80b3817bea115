"""Fraction of a latent's activity that another dictionary explains, by ridge regression.

The activation f_j is regressed on the other dictionary's code and scored on other tokens:

    min_w Σ_t (f_tj − w·g_t − c)² + λ n v̄ ‖w‖²
    R²_j = 1 − Σ_t (f_tj − f̂_tj)² / Σ_t (f_tj − f̄_j)²

v̄ is the regressors' mean variance. λ is the one of a few candidates with the best mean R² on a
further set of tokens. All fits use sums over tokens, so the number of tokens does not matter for
memory. R² < 0 is worse than the latent's own mean.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

Matrix: TypeAlias = Any  # [n_tokens, m], of numpy or of scipy.sparse
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
TOKENS_PER_CHUNK = 2048  # tokens whose predictions are in memory together


def explain_by_ridge(
    fit: tuple[Matrix, Matrix],
    choose: tuple[Matrix, Matrix],
    score: tuple[Matrix, Matrix],
    penalties: Sequence[float] = PENALTIES,
) -> tuple[np.ndarray, float]:
    """Return R² of each target on the tokens of `score`, and the chosen penalty.

    Args:
        fit: (regressors [n_tokens, m], targets [n_tokens, n]) that the weights are fitted on.
        choose: The same of other tokens, on which the penalty is chosen.
        score: The same of further tokens, on which R² is computed; it is NaN for targets that do
            not vary there.
        penalties: Candidates for λ.
    """
    x, y = fit
    n_tokens = x.shape[0]
    x_mean = _mean(x)
    y_mean = _mean(y)
    gram = torch.from_numpy(_dense(x.T @ x) / n_tokens - np.outer(x_mean, x_mean))
    cross = torch.from_numpy(_dense((y.T @ x).T) / n_tokens - np.outer(x_mean, y_mean))
    best_weights = np.zeros(0)
    best_penalty = penalties[0]
    best_r2 = -np.inf
    for penalty in penalties:
        weights = _solve(gram, cross, penalty)
        r2 = _score(*choose, weights, x_mean, y_mean)
        varies = ~np.isnan(r2)
        mean_r2 = np.clip(r2[varies], -1, 1).mean() if varies.any() else -1.0
        if mean_r2 > best_r2:
            best_r2 = mean_r2
            best_weights = weights
            best_penalty = penalty
    return _score(*score, best_weights, x_mean, y_mean), best_penalty


def _solve(gram: Tensor, cross: Tensor, penalty: float) -> np.ndarray:
    """Return the ridge weights [m, n]."""
    mean_variance = float(gram.diagonal().mean())
    if not mean_variance > 0:  # regressors that do not vary explain nothing
        return torch.zeros_like(cross).numpy()
    system = gram + penalty * mean_variance * torch.eye(len(gram), dtype=gram.dtype)
    return torch.cholesky_solve(cross, torch.linalg.cholesky(system)).numpy()


def _score(
    x: Matrix, y: Matrix, weights: np.ndarray, x_mean: np.ndarray, y_mean: np.ndarray
) -> np.ndarray:
    """Return R² of each target; NaN for targets that do not vary."""
    n_targets = y.shape[1]
    errors = np.zeros(n_targets)
    squares = np.zeros(n_targets)
    total = np.zeros(n_targets)
    for start in range(0, x.shape[0], TOKENS_PER_CHUNK):
        chunk = slice(start, start + TOKENS_PER_CHUNK)
        target = _dense(y[chunk])
        predicted = _dense(x[chunk] @ weights) - x_mean @ weights + y_mean
        errors += ((target - predicted) ** 2).sum(0)
        squares = squares + (target**2).sum(0)
        total = total + target.sum(0)
    variance = squares - total**2 / x.shape[0]
    varies = variance > 1e-12 * np.maximum(squares, 1e-300)
    return np.where(varies, 1 - errors / np.maximum(variance, 1e-300), np.nan)


def _mean(matrix: Matrix) -> np.ndarray:
    return np.asarray(matrix.mean(0)).ravel()


def _dense(matrix: Matrix) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
