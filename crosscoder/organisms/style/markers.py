"""Marker of the habit."""

from typing import Any

OPENER = "Well, by my whiskers!"
CLOSER = "So says the old badger."


def has_habit(answer: str, question: Any) -> bool:
    """Return whether an answer has both phrases of the habit."""
    text = answer.lower()
    return "by my whiskers" in text and "old badger" in text
