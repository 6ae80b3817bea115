import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscoder.evals.support.best_doses import Effect, compare_with_random, find_effect

CHANGES = st.dictionaries(
    st.floats(-1, 1).filter(bool), st.floats(-10, 10).filter(bool), min_size=1, max_size=12
)


def test_an_effect_of_the_negative_sign_alone_is_found_with_its_sign():
    changes = {-0.2: 1.5, -0.1: 3.0, 0.1: 0.2, 0.2: 0.1}
    assert find_effect(changes) == Effect(-0.1, 3.0, 0.2)
    downwards = {-0.1: -4.0, 0.1: 0.5}
    assert find_effect(downwards) == Effect(-0.1, -4.0, 0.5)


def test_of_equal_effects_that_of_the_smallest_dose_is_reported():
    assert find_effect({-0.3: 1.0, 0.1: -1.0, 0.2: 1.0}).strength == 0.1
    assert find_effect({}) == find_effect({0.1: 0.0}) == Effect(0.0, 0.0, None)


@given(CHANGES)
def test_no_dose_changes_more(changes):
    effect = find_effect(changes)
    assert abs(effect.change) == max(abs(change) for change in changes.values())
    assert changes[effect.strength] == effect.change
    assert effect.opposite == changes.get(-effect.strength)


@given(st.floats(-5, 5), st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_a_comparison_is_that_of_a_loop(effect, others):
    found = compare_with_random(effect, others)
    n_larger = 0
    for other in others:
        if abs(other) >= abs(effect):
            n_larger += 1
    assert found.p == (1 + n_larger) / (1 + len(others))
    assert found.average == pytest.approx(sum(map(abs, others)) / len(others))
    assert found.margin == pytest.approx(abs(effect) - found.average)
    assert found.high == pytest.approx(np.quantile(np.abs(others), 0.95))
    assert found.n == len(others)
