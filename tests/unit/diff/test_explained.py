"""Ridge regression from sums against scikit-learn on the tokens themselves, and what it says of known things."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge

from crosscoder.diff import explained as module
from crosscoder.diff.explained import explained


def world(n: int, seed: int) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Regressors [n, 6], and targets: twice the first, the sum of two, something else, and nothing."""
    generator = np.random.default_rng(seed)
    x = np.where(generator.random((n, 6)) < 0.4, generator.random((n, 6)), 0)
    y = np.stack([2 * x[:, 0], x[:, 1] + x[:, 2], generator.random(n), np.zeros(n)], axis=1)
    return sparse.csr_matrix(x), sparse.csr_matrix(y)


@pytest.fixture
def parts() -> list[tuple[sparse.csr_matrix, sparse.csr_matrix]]:
    return [world(400, 0), world(200, 1), world(300, 2)]


def test_what_is_there_is_explained_and_what_is_not_is_not(parts):
    r2, _ = explained(*parts)
    assert r2[0] > 0.999
    assert r2[1] > 0.999
    assert abs(r2[2]) < 0.1
    assert np.isnan(r2[3])


@pytest.mark.parametrize("dense", [False, True])
def test_it_is_ridge_regression(parts, dense):
    if dense:
        parts = [(x.toarray(), y) for x, y in parts]
    r2, penalty = explained(*parts, penalties=[0.1])
    (x, y), _, (x_score, y_score) = (tuple(m.toarray() if sparse.issparse(m) else m for m in part) for part in parts)
    alpha = penalty * len(x) * x.var(0).mean()
    truth, predicted = y_score, Ridge(alpha=alpha).fit(x, y).predict(x_score)
    expected = 1 - ((truth - predicted) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0).clip(1e-300)
    np.testing.assert_allclose(r2[:3], expected[:3], rtol=1e-9)


def test_the_penalty_is_chosen_on_tokens_of_their_own(parts):
    assert explained(*((x, y[:, :2]) for x, y in parts))[1] == min(module.PENALTIES)  # nothing to overfit
    generator = np.random.default_rng(3)
    noisy = [(generator.normal(size=(n, 60)), sparse.csr_matrix(generator.normal(size=(n, 2)))) for n in (70, 400, 400)]
    assert explained(*noisy)[1] == max(module.PENALTIES)


def test_parts_do_not_matter(parts, monkeypatch):
    whole = explained(*parts)[0]
    monkeypatch.setattr(module, "AT_A_TIME", 37)
    np.testing.assert_allclose(explained(*parts)[0], whole)
