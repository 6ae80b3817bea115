"""Format numbers for the page in one of three styles: score, percent or number."""

from typing import Any

from crosscoder.report.terminal.tables import format_figure

ROUNDED_PERCENT = 9.95  # from here on, a percentage has no decimals
SMALLEST_PERCENT = 0.01  # smaller ones are not told apart


def format_number(value: Any, style: str) -> str:
    """Format a value as a `score` (three decimals), a `percent` or a plain `number`."""
    is_number = isinstance(value, int | float) and value == value
    if is_number and style == "score":
        return f"{value:.3f}"
    if is_number and style == "percent":
        return _format_percent(value)
    if isinstance(value, float) and 1 <= abs(value) < 100:
        return f"{value:.1f}"
    return format_figure(value)


def _format_percent(fraction: float) -> str:
    """Format a fraction in per cent with two significant digits, without an exponent."""
    percent = abs(100 * fraction)
    sign = "−" if fraction < 0 else ""
    if percent >= ROUNDED_PERCENT or not percent:
        return f"{sign}{percent:.0f} %"
    if percent < SMALLEST_PERCENT:
        return f"{'>' if sign else '<'} {sign}{SMALLEST_PERCENT} %"
    return f"{sign}{percent:#.2g} %"
