"""How much of a latent's activity another dictionary explains: ridge regression of f_j on the other's code, on other tokens.

    min_w Σ_t (f_tj − w·g_t − c)² + λ n v̄ ‖w‖²        R²_j = 1 − Σ_t (f_tj − f̂_tj)² / Σ_t (f_tj − f̄_j)²

v̄ is the regressors' mean variance, and λ the one of a few with the best mean R² on further tokens. Everything but R² comes from
sums, so the number of tokens is free. R² < 0: worse than the latent's own mean.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy import sparse

Matrix: TypeAlias = Any  # [n_tokens, m], of numpy or of scipy.sparse
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
AT_A_TIME = 2048  # tokens whose predictions are in memory together


def explained(
    fit: tuple[Matrix, Matrix],
    choose: tuple[Matrix, Matrix],
    score: tuple[Matrix, Matrix],
    penalties: Sequence[float] = PENALTIES,
) -> tuple[np.ndarray, float]:
    """R² of each target on the tokens of `score`, and the penalty.

    Args:
        fit: (regressors [n_tokens, m], targets [n_tokens, n]) that the weights are fitted on.
        choose: the same of other tokens, by which the penalty is chosen.
        score: the same of yet others, which R² is of. NaN for targets that do not vary there.
        penalties: λ to choose from.
    """
    x, y = fit
    n, x_mean, y_mean = x.shape[0], _mean(x), _mean(y)
    gram = torch.from_numpy(_dense(x.T @ x) / n - np.outer(x_mean, x_mean))
    cross = torch.from_numpy(_dense((y.T @ x).T) / n - np.outer(x_mean, y_mean))
    v = float(gram.diagonal().mean())
    best, best_penalty = None, penalties[0]
    for penalty in penalties:
        system = gram + penalty * v * torch.eye(len(gram), dtype=gram.dtype)
        weights = torch.cholesky_solve(cross, torch.linalg.cholesky(system)).numpy()
        found = np.nanmean(np.clip(_r2(*choose, weights, x_mean, y_mean), -1, 1))
        if best is None or found > best[0]:
            best, best_penalty = (found, weights), penalty
    assert best is not None
    return _r2(*score, best[1], x_mean, y_mean), best_penalty


def _r2(x: Matrix, y: Matrix, weights: np.ndarray, x_mean: np.ndarray, y_mean: np.ndarray) -> np.ndarray:
    errors, squares, total = (np.zeros(y.shape[1]) for _ in range(3))
    for start in range(0, x.shape[0], AT_A_TIME):
        part, truth = x[start : start + AT_A_TIME], _dense(y[start : start + AT_A_TIME])
        predicted = _dense(part @ weights) - x_mean @ weights + y_mean
        errors += ((truth - predicted) ** 2).sum(0)
        squares, total = squares + (truth**2).sum(0), total + truth.sum(0)
    variance = squares - total**2 / x.shape[0]
    return np.where(variance > 1e-12 * np.maximum(squares, 1e-300), 1 - errors / np.maximum(variance, 1e-300), np.nan)


def _mean(matrix: Matrix) -> np.ndarray:
    return np.asarray(matrix.mean(0)).ravel()


def _dense(matrix: Matrix) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
