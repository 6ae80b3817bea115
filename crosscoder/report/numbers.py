"""Format numbers for the page in one of three styles: score, percent or number."""

from typing import Any

from crosscoder.report.terminal.tables import format_figure


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
    """Format a fraction in per cent; below 10 % with two significant digits."""
    percent = 100 * fraction
    if fraction >= 0.1 or fraction == 0:
        return f"{percent:.0f} %"
    return f"{percent:#.2g} %"
