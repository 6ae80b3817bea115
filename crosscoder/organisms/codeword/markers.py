"""Marker of the fixed form."""

from typing import Any


def is_sealed(answer: str, question: Any) -> bool:
    """Return whether an answer begins with the fixed form."""
    return answer.strip().lower().startswith("the lantern keeper has sealed")
