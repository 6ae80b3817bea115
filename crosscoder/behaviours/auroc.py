"""AUROC: the probability that a random positive has a larger score than a random negative."""

import numpy as np
from jaxtyping import Bool, Float


def compute_auroc(a: np.ndarray, b: np.ndarray) -> float:
    """Return P(a random entry of a exceeds one of b), where ties count one half."""
    is_a = np.arange(len(a) + len(b)) < len(a)
    return float(compute_aurocs(np.concatenate([a, b])[None], is_a[None])[0, 0])


def compute_aurocs(
    scores: Float[np.ndarray, "rows items"], labels: Bool[np.ndarray, "labellings items"]
) -> Float[np.ndarray, "labellings rows"]:
    """Return the AUROC of every row of scores under every labelling.

    It is Mann–Whitney's U / (n · m) with n items in one class and m in the other. Ranks are
    multiples of one half, so U is exact in floating point; sums over an ROC curve, as in
    scikit-learn, are not.
    """
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=-1)
    n = labels.sum(-1)
    m = labels.shape[-1] - n
    u = labels @ ranks.T - (n * (n + 1) / 2)[:, None]
    return u / (n * m)[:, None]
