"""Correlation and Jaccard of two codes, against numpy's own and a count of tokens."""

import numpy as np
import pytest
import torch
from scipy import sparse

from crosscoder.analysis.matching.cofiring import Cofiring, stack_codes
from crosscoder.core.sparse import DenseCode

N = 60


@pytest.fixture
def codes() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    made = [
        np.where(generator.random((N, n)) < 0.3, generator.random((N, n)) + 0.1, 0) for n in (5, 8)
    ]
    made[0][:, 3] = 0  # a dead latent
    made[1][:, 6] = 2 * made[0][:, 1]  # one that is another's double
    return made


@pytest.fixture
def cofiring(codes) -> Cofiring:
    return Cofiring.from_codes(*(sparse.csr_matrix(code) for code in codes))


def test_correlation_is_pearsons(codes, cofiring):
    found = cofiring.correlation.toarray()
    for i in range(5):
        for j in range(8):
            a = codes[0][:, i]
            b = codes[1][:, j]
            if ((a > 0) & (b > 0)).any():
                assert found[i, j] == pytest.approx(np.corrcoef(a, b)[0, 1])
            else:
                assert found[i, j] == 0


def test_jaccard_counts_tokens(codes, cofiring):
    found = cofiring.jaccard.toarray()
    for i in range(5):
        for j in range(8):
            a = codes[0][:, i] > 0
            b = codes[1][:, j] > 0
            assert found[i, j] == pytest.approx((a & b).sum() / max(1, (a | b).sum()))


def test_the_best_partner_is_the_one_that_correlates_most(codes, cofiring):
    value, partner = cofiring.find_partners()
    assert partner[1] == 6
    assert value[1] == pytest.approx(1)
    assert partner[3] == -1
    assert value[3] == 0
    correlation, jaccard = cofiring.read_pairs(np.array([0, 6, 1, 0, 2]))
    assert correlation[1] == pytest.approx(1)
    assert jaccard[1] == 1


def test_codes_become_one_matrix(codes):
    parts = [
        DenseCode(torch.from_numpy(codes[0][:20]).float()),
        DenseCode(torch.from_numpy(codes[0][20:]).float()),
    ]
    np.testing.assert_allclose(
        stack_codes([parts[0], parts[1].to_sparse()]).toarray(), codes[0], rtol=1e-6
    )
