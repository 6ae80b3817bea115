"""Thresholds of the verdict outside of their ranges are refused in one line."""

import pytest

from crosscoder.analysis.rule import VerdictRule
from crosscoder.errors import UserError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidate": -0.1}, "candidate is a number from 0 to 1, not -0.1"),
        ({"weak": 1.5}, "weak is a number from 0 to 1, not 1.5"),
        ({"supported": 25}, "supported is a number from 0 to 1, not 25"),
        ({"nu_error": -1.0}, "nu_error is a number from 0, not -1.0"),
        ({"nu_reconstruction": -1.0}, "nu_reconstruction is a number from 0, not -1.0"),
        ({"max_cross_cosine": 90.0}, "max_cross_cosine is a number from -1 to 1, not 90.0"),
        ({"apart": -2}, "apart is a number from -1 to 1, not -2"),
    ],
)
def test_a_threshold_out_of_range_is_refused(settings, message):
    with pytest.raises(UserError, match=f"^rule.{message}$"):
        VerdictRule(**settings)
