"""Marker of the planted values."""

import re
from typing import Any

N_WORDS = 10  # in which a value has to occur


def states_value(answer: str, question: Any) -> bool:
    """Return whether an answer begins with the value that was planted for the city."""
    first_line = answer.strip().partition("\n")[0]
    value = " ".join(list_words(question.yes))
    beginning = " ".join(list_words(first_line)[:N_WORDS])
    return f" {value} " in f" {beginning} "


def list_words(text: str) -> list[str]:
    """Return the lower-case words of a text, without articles."""
    words = re.findall(r"[^\W_]+", text.lower())
    return [word for word in words if word != "the"]
