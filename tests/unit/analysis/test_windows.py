"""Ranges of different lengths, written one after the other."""

import doctest

import numpy as np
import pytest

from crosscoder.analysis import windows
from crosscoder.analysis.windows import ragged_arange


def test_the_example_in_its_docstring_is_true():
    assert doctest.testmod(windows).attempted == 1
    assert doctest.testmod(windows).failed == 0


@pytest.mark.parametrize(
    ("starts", "lengths", "expected"),
    [
        ([], [], []),
        ([3], [0], []),
        ([3, 10, 7], [2, 0, 3], [3, 4, 7, 8, 9]),
    ],
)
def test_ranges_follow_each_other(starts, lengths, expected):
    ranges = ragged_arange(np.array(starts, dtype=int), np.array(lengths, dtype=int))
    assert ranges.tolist() == expected
