import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from crosscoder.evals.diffing.trigger import FOUND, compute_aurocs, score_trigger


def test_aurocs_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (5, 30)).astype(float)  # many ties
    labels = rng.random((4, 30)) < 0.4
    found = compute_aurocs(scores, labels)
    for row, label in enumerate(labels):
        for column, score in enumerate(scores):
            assert found[row, column] == pytest.approx(roc_auc_score(label, score))


def test_the_first_piece_above_the_threshold_is_found():
    is_framing = np.arange(40) < 20
    noise = np.random.default_rng(0).standard_normal(40)
    scores = np.stack([np.zeros(40), -1.0 * is_framing, noise, noise + 9 * is_framing])
    found = score_trigger(scores, is_framing, 50, seed=0)
    assert found.found_rank == 4
    assert found.best == 1
    assert found.aurocs[:2].tolist() == [0.5, 0]
    assert found.chance_found == 0
    assert 0.5 < found.chance_auroc < FOUND


def test_nothing_is_found_without_pieces():
    found = score_trigger(np.zeros((0, 4)), np.arange(4) < 2, 5, seed=0)
    assert found.found_rank is None
    assert np.isnan(found.best)
    assert found.chance_found == 0
