"""Decoders matched between two dictionaries, against loops over all pairs and all assignments."""

from itertools import permutations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosscoder.analysis.matching import decoders as match
from tests.helpers.small import random_acts


def cosines(ours: torch.Tensor, theirs: torch.Tensor) -> np.ndarray:
    return np.array(
        [[float(a @ b / (a.norm() * b.norm())) for b in theirs.double()] for a in ours.double()]
    )


@given(seed=st.integers(0, 99))
def test_the_nearest_has_the_largest_cosine_of_all_pairs(seed):
    ours = random_acts(7, 5, seed)
    theirs = random_acts(9, 5, seed + 1) * 3
    cosine, which = match.find_nearest(ours, theirs)
    expected = cosines(ours, theirs)
    assert which.tolist() == expected.argmax(1).tolist()
    np.testing.assert_allclose(cosine, expected.max(1), atol=1e-6)


@given(seed=st.integers(0, 99))
def test_one_to_one_is_the_best_of_all_assignments(seed):
    ours = random_acts(4, 5, seed)
    theirs = random_acts(5, 5, seed + 1)
    cosine, partner = match.match_one_to_one(ours, theirs)
    expected = cosines(ours, theirs)
    best = max(
        sum(expected[i, p] for i, p in enumerate(order)) for order in permutations(range(5), 4)
    )
    assert sorted(set(partner)) == sorted(partner)
    assert np.isclose(cosine.sum(), best)


def test_rows_without_a_partner_have_minus_one():
    cosine, partner = match.match_one_to_one(random_acts(6, 5), random_acts(2, 5, 1))
    assert (partner == -1).sum() == 4
    assert (cosine[partner == -1] == 0).all()


def test_the_chunk_size_does_not_matter(monkeypatch):
    ours = random_acts(50, 5)
    theirs = random_acts(20, 5, 1)
    whole = match.find_nearest(ours, theirs)
    monkeypatch.setattr(match, "LATENTS_PER_CHUNK", 7)
    cosine, which = match.find_nearest(ours, theirs)
    np.testing.assert_allclose(cosine, whole[0], atol=1e-6)
    np.testing.assert_array_equal(which, whole[1])
