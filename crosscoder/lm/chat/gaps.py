"""Runs of a message's characters in a text, and the gaps between them."""

from typing import NamedTuple

import numpy as np

from crosscoder.lm.chat.marks import Marks


class Run(NamedTuple):
    """Characters [start, end) of a text, equal to a message's characters from `first` on."""

    start: int
    end: int
    message: int
    first: int


class Gap(NamedTuple):
    """Characters [start, end) of a text without marks.

    `left` and `right` are the messages' characters at both sides, -1 at the ends of the text.
    """

    number: int
    start: int
    end: int
    left: int
    right: int


def gather_runs(origins: np.ndarray, marks: Marks) -> list[Run]:
    """Gather characters that follow each other in the text as they do in a message."""
    places = np.flatnonzero(origins >= 0)
    if not len(places):
        return []
    own = origins[places]
    begins = np.concatenate([[0], np.flatnonzero(_is_break(places, own, marks)) + 1])
    ends = np.concatenate([begins[1:], [len(places)]])
    runs = []
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        message = int(marks.message[own[begin]])
        first = int(own[begin]) - int(marks.starts[message])
        runs.append(Run(int(places[begin]), int(places[end - 1]) + 1, message, first))
    return runs


def list_gaps(origins: np.ndarray, marks: Marks) -> list[Gap]:
    """List the gaps between marks that do not follow each other as in a message.

    The first and the last gap are at the beginning and the end of the text.
    """
    places = np.flatnonzero(origins >= 0)
    own = origins[places]
    left_ends = np.concatenate([[-1], places])
    right_ends = np.concatenate([places, [len(origins)]])
    left = np.concatenate([[-1], own])
    right = np.concatenate([own, [-1]])
    breaks = np.flatnonzero(_is_break(places, own, marks)) + 1
    numbers = {0, len(places), *breaks.tolist()}
    return [
        Gap(n, int(left_ends[n]) + 1, int(right_ends[n]), int(left[n]), int(right[n]))
        for n in sorted(numbers)
    ]


def _is_break(places: np.ndarray, own: np.ndarray, marks: Marks) -> np.ndarray:
    """Return for each two successive marks whether they do not follow each other in a message."""
    is_other_message = np.diff(marks.message[own]) != 0
    return (np.diff(places) != 1) | (np.diff(own) != 1) | is_other_message


def get_tail(gap: Gap, marks: Marks, literal: np.ndarray) -> str:
    """Return the literal characters right after the mark at the gap's left."""
    if gap.left < 0:
        return ""
    end = int(marks.starts[marks.message[gap.left] + 1])
    stop = gap.left + 1
    while stop < end and literal[stop]:
        stop += 1
    return marks.text[gap.left + 1 : stop]


def get_head(gap: Gap, marks: Marks, literal: np.ndarray) -> str:
    """Return the literal characters right before the mark at the gap's right."""
    if gap.right < 0:
        return ""
    begin = int(marks.starts[marks.message[gap.right]])
    start = gap.right
    while start > begin and literal[start - 1]:
        start -= 1
    return marks.text[start : gap.right]
