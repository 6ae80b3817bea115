"""Principal angles against scipy's, and the mean for random subspaces against random draws."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from crosscoder.analysis.matching.subspaces import (
    compute_chance,
    compute_cosines,
    compute_overlap,
    find_span,
)


def random_rows(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("n_one", "n_other"), [(4, 4), (3, 9), (9, 2)])
def test_angles_are_those_of_scipy(n_one, n_other):
    one = random_rows(n_one, 12, 0)
    other = random_rows(n_other, 12, 1)
    cosines = compute_cosines(find_span(one, 1.0), find_span(other, 1.0))
    expected = np.cos(subspace_angles(one.T.numpy(), other.T.numpy()))
    np.testing.assert_allclose(np.sort(cosines), np.sort(expected), atol=1e-7)


@pytest.mark.parametrize("n", [5, 40])
def test_another_basis_of_the_same_subspace_has_no_angle_to_it(n):
    basis = random_rows(5, 20, 0)
    one = random_rows(n, 5, 1) @ basis
    other = random_rows(n, 5, 2) @ basis
    spans = find_span(one, 1.0), find_span(other, 1.0)
    assert [len(span) for span in spans] == [5, 5]
    np.testing.assert_allclose(compute_cosines(*spans), 1, atol=1e-9)


def test_orthogonal_subspaces_do_not_overlap():
    rows = torch.eye(6)
    assert compute_overlap(find_span(rows[:2], 1.0), find_span(rows[2:], 1.0)) < 1e-12


@pytest.mark.parametrize("n", [6, 60])
def test_the_span_is_that_of_the_first_singular_vectors(n):
    rows = random_rows(n, 10, 0) * torch.linspace(2, 0.1, 10)
    unit = rows / rows.norm(dim=1, keepdim=True)
    _, singular, right = np.linalg.svd(unit.numpy(), full_matrices=False)
    for energy in (0.5, 0.9, 1.0):
        span = find_span(rows, energy)
        fraction = np.cumsum(singular**2) / np.sum(singular**2)
        r = 1 + int((fraction < energy - 1e-12).sum())
        assert len(span) == r
        np.testing.assert_allclose(span @ span.T, np.eye(r), atol=1e-9)
        np.testing.assert_allclose(np.abs(span.numpy() @ right[:r].T), np.eye(r), atol=1e-6)


def test_random_subspaces_overlap_by_chance():
    overlaps = []
    for seed in range(200):
        one = find_span(random_rows(4, 30, seed), 1.0)
        other = find_span(random_rows(9, 30, 1000 + seed), 1.0)
        overlaps.append(compute_overlap(one, other))
    assert np.mean(overlaps) == pytest.approx(compute_chance(one, other), rel=0.03)
