"""Ridge regression from sums against scikit-learn on the tokens, and on known targets."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge

from crosscoder.analysis.matching import regression as module
from crosscoder.analysis.matching.regression import explain_by_ridge


def world(n: int, seed: int) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Return regressors [n, 6] and targets on three sets of tokens.

    Targets are twice the first regressor, the sum of two, something unrelated, and a constant.
    """
    generator = np.random.default_rng(seed)
    x = np.where(generator.random((n, 6)) < 0.4, generator.random((n, 6)), 0)
    y = np.stack([2 * x[:, 0], x[:, 1] + x[:, 2], generator.random(n), np.zeros(n)], axis=1)
    return sparse.csr_matrix(x), sparse.csr_matrix(y)


@pytest.fixture
def parts() -> list[tuple[sparse.csr_matrix, sparse.csr_matrix]]:
    return [world(400, 0), world(200, 1), world(300, 2)]


def test_targets_made_of_the_regressors_are_explained_and_others_are_not(parts):
    r2, _ = explain_by_ridge(*parts)
    assert r2[0] > 0.999
    assert r2[1] > 0.999
    assert abs(r2[2]) < 0.1
    assert np.isnan(r2[3])


@pytest.mark.parametrize("dense", [False, True])
def test_it_is_ridge_regression(parts, dense):
    if dense:
        parts = [(x.toarray(), y) for x, y in parts]
    r2, penalty = explain_by_ridge(*parts, penalties=[0.1])
    (x, y), _, (x_score, y_score) = (
        tuple(m.toarray() if sparse.issparse(m) else m for m in part) for part in parts
    )
    alpha = penalty * len(x) * x.var(0).mean()
    truth = y_score
    predicted = Ridge(alpha=alpha).fit(x, y).predict(x_score)
    expected = 1 - ((truth - predicted) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0).clip(
        1e-300
    )
    np.testing.assert_allclose(r2[:3], expected[:3], rtol=1e-9)


def test_the_penalty_is_chosen_on_separate_tokens(parts):
    assert explain_by_ridge(*((x, y[:, :2]) for x, y in parts))[1] == min(
        module.PENALTIES
    )  # nothing to overfit
    generator = np.random.default_rng(3)
    noisy = [
        (generator.normal(size=(n, 60)), sparse.csr_matrix(generator.normal(size=(n, 2))))
        for n in (70, 400, 400)
    ]
    assert explain_by_ridge(*noisy)[1] == max(module.PENALTIES)


def test_the_chunk_size_does_not_matter(parts, monkeypatch):
    whole = explain_by_ridge(*parts)[0]
    monkeypatch.setattr(module, "TOKENS_PER_CHUNK", 37)
    np.testing.assert_allclose(explain_by_ridge(*parts)[0], whole)
