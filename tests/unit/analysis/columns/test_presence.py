"""Presence: each of its four terms alone, both sides, and latents without ν."""

import numpy as np
import pytest

from crosscoder.analysis.columns.presence import EXCLUSIVE, compute_presence


def columns(**changes) -> dict:
    plain = {
        "norm/chat": 1.0,
        "norm/base": 0.1,
        "nu/error/chat": -0.02,
        "nu/error/base": 5.0,
        "max_cross_cosine": 0.3,
    } | changes
    return {name: np.array([value]) for name, value in plain.items()}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.1),
        ({"norm/base": 0.5}, 0.5),
        ({"nu/error/chat": 0.05}, 0.7),  # base has it, weakly, and the same way
        ({"nu/error/chat": -0.32}, 0.6),
        ({"max_cross_cosine": 0.95}, 1.0),
    ],
)
def test_presence_is_the_largest_of_its_terms(changes, expected):
    found = compute_presence(columns(**changes), ("chat", "base"))
    assert found["presence/chat"] == pytest.approx(expected)
    assert found["presence/base"] > EXCLUSIVE


def test_the_two_sources_are_mirrored():
    swapped = columns() | {
        "norm/chat": np.array([0.1]),
        "norm/base": np.array([1.0]),
        "nu/error/base": np.array([-0.02]),
        "nu/error/chat": np.array([5.0]),
    }
    assert compute_presence(swapped, ("chat", "base"))["presence/base"] == pytest.approx(0.1)


def test_a_latent_without_nu_has_no_presence():
    assert np.isnan(
        compute_presence(columns(**{"nu/error/chat": np.nan}), ("chat", "base"))["presence/chat"]
    )
