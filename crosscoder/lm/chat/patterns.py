"""Patterns of the text that a template may leave of messages' literal characters at a gap."""

import re
from collections.abc import Sequence

import numpy as np

from crosscoder.lm.chat.gaps import Gap, get_head, get_tail
from crosscoder.lm.chat.marks import Marks, encode, get_mark_numbers

# characters that templates trim; None is all white space
TRIMMED = (None, "\n", " ", " \n", "\r\n", "\t")


def make_pattern(
    gap: Gap, between: str, marks: Marks, literal: np.ndarray
) -> tuple[str, list[slice]]:
    """Return a pattern of the text at a gap, and the messages' characters of each of its groups.

    Args:
        gap: The gap.
        between: The template's text at the gap, in which marks stand for whole messages.
        marks: Messages of the chat.
        literal: True for their literal characters.
    """
    left = get_tail(gap, marks, literal)
    right = get_head(gap, marks, literal)
    groups = [slice(gap.left + 1, gap.left + 1 + len(left))]
    pattern = _match_any([left, *(left.rstrip(characters) for characters in TRIMMED), ""])
    message_marks = f"{marks.get_message_mark(0)}-{marks.get_message_mark(len(marks))}"
    for piece in re.split(f"([{message_marks}])", between):
        message = int(get_mark_numbers(encode(piece))[0]) - len(marks.codes) if piece else -1
        if message < 0:
            pattern += re.escape(piece)
        else:
            groups.append(marks.get_slice(message))
            pattern += _match_any(_list_remainders(marks, literal, message))
    groups.append(slice(gap.right - len(right), gap.right))
    pattern += _match_any([right, *(right.lstrip(characters) for characters in TRIMMED), ""])
    return pattern, groups


def _list_remainders(marks: Marks, literal: np.ndarray, message: int) -> list[str]:
    """List the texts that a template may leave of a message without marks."""
    content = marks.get_content(message)
    if not literal[marks.get_slice(message)].all():
        return [""]
    found = [content]
    for characters in TRIMMED:
        found += [content.lstrip(characters), content.rstrip(characters), content.strip(characters)]
    return [*found, ""]


def _match_any(texts: Sequence[str]) -> str:
    """Return a group that matches one of these texts, longer ones first."""
    longest_first = sorted(set(texts), key=len, reverse=True)
    return "(" + "|".join(re.escape(text) for text in longest_first) + ")"
