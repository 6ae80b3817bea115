import pytest

from crosscoder.report.numbers import format_number


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (1.0, "100 %"),
        (0.997, "100 %"),
        (0.0997, "10 %"),
        (0.0949, "9.5 %"),
        (0.0002, "0.020 %"),
        (1e-7, "< 0.01 %"),
        (-1e-7, "> −0.01 %"),
        (-0.05, "−5.0 %"),
        (0.0, "0 %"),
        (2.5, "250 %"),
    ],
)
def test_percentages_have_no_exponent(fraction, text):
    assert format_number(fraction, "percent") == text
