"""Find the literal characters of messages, at both ends of a message and between its marks.

A literal character is rendered as it is, without a mark (see spans.py). To separate such characters
from the template's, the chat is rendered again with messages that end where their marks end:

    message    rendered          with marks         ending at the marks
    "Hi  "     <user>Hi  <end>   <user>①②  <end>    <user>①②<end>       the spaces are the message's
    "Hi  "     <user>Hi<end>     <user>①②<end>      <user>①②<end>       the spaces were trimmed

The text between two marks in the last column is the template's. What the rendered text has there in
addition belongs to the message.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from crosscoder.lm.chat.gaps import Gap, get_head, get_tail, list_gaps
from crosscoder.lm.chat.marks import Marks, encode, get_mark_numbers
from crosscoder.lm.chat.patterns import make_pattern


def assign_literals(
    origins: np.ndarray,
    text: str,
    marks: Marks,
    literal: np.ndarray,
    tags: np.ndarray,
    render: Callable[[list[str]], str | None],
) -> bool:
    """Enter the origins of the literal characters that are messages' own.

    Args:
        origins: For each character of the text, the number of the messages' character that it is,
            or -1; filled in here.
        text: Rendered chat.
        marks: Messages of the chat.
        literal: True for their literal characters.
        tags: True for the literal characters that are markup which the template looks for. Between
            two marks, it counts as the template's.
        render: Function that renders the chat with other contents.

    Returns:
        True if the origins could be decided.
    """
    own = origins[origins >= 0]
    outer = []
    for gap in list_gaps(origins, marks):
        if _is_inner(gap, marks, literal):
            _fill_inner(gap, text, marks, tags, origins)
        else:
            outer.append(gap)
    seen = set(marks.message[own].tolist())
    silent = []
    for message in range(len(marks)):
        if message not in seen and literal[marks.get_slice(message)].any():
            silent.append(message)
    if not silent and not any(_has_literals(gap, marks, literal) for gap in outer):
        return True
    for contents in _reduce_contents(own, marks, literal, tags, silent):
        texts = _read_gaps(render(contents), own, outer, marks)
        if texts is not None and _fill_outer(outer, texts, text, marks, literal, origins):
            return True
    return False


def _has_literals(gap: Gap, marks: Marks, literal: np.ndarray) -> bool:
    """Return whether the messages have literal characters next to a gap."""
    return bool(get_tail(gap, marks, literal) or get_head(gap, marks, literal))


def _is_inner(gap: Gap, marks: Marks, literal: np.ndarray) -> bool:
    """Return whether both sides are one message that has only literal characters in between."""
    if gap.left < 0 or gap.right <= gap.left or marks.message[gap.left] != marks.message[gap.right]:
        return False
    return bool(literal[gap.left + 1 : gap.right].all())


def _fill_inner(gap: Gap, text: str, marks: Marks, tags: np.ndarray, origins: np.ndarray) -> None:
    """Enter the text between two marks of a message, unless the template replaces markup there."""
    n = gap.right - gap.left - 1
    if n == 0 or tags[gap.left + 1 : gap.right].any():
        return
    # unchanged or changed, e.g. by a template that writes every line break in one way
    counts = np.minimum(np.arange(gap.end - gap.start), n - 1)
    origins[gap.start : gap.end] = gap.left + 1 + counts


def _reduce_contents(
    own: np.ndarray, marks: Marks, literal: np.ndarray, tags: np.ndarray, silent: Sequence[int]
) -> Iterator[list[str]]:
    """Yield contents that end where their marks end.

    First they are cut at the first and the last mark. If the template needs more characters, only
    white space is removed. A message of which no mark is left is replaced by one mark, or stays
    unchanged.
    """
    marked = marks.write_text(literal)
    whole = marks.write_contents(literal)
    cut = list(whole)
    trimmed = [content.strip() for content in whole]
    for message in range(len(marks)):
        mine = own[marks.message[own] == message]
        if len(mine):
            cut[message] = marked[mine.min() : mine.max() + 1]
        elif message in silent:
            cut[message] = marks.get_message_mark(message)
            trimmed[message] = whole[message]
    yield cut
    words = marks.find_characters(str.isalnum) & literal & ~tags
    if not any(words[marks.get_slice(message)].any() for message in silent):
        yield trimmed


def _read_gaps(
    reduced: str | None, own: np.ndarray, outer: Sequence[Gap], marks: Marks
) -> list[str] | None:
    """Return the text at each gap of the reduced chat; None if its marks differ."""
    if reduced is None:
        return None
    found = get_mark_numbers(encode(reduced))
    places = np.flatnonzero((found >= 0) & (found < len(marks.codes)))
    if not np.array_equal(found[places], own):
        return None
    ends = np.concatenate([[-1], places, [len(reduced)]])
    return [reduced[ends[gap.number] + 1 : ends[gap.number + 1]] for gap in outer]


def _fill_outer(
    outer: Sequence[Gap],
    texts: Sequence[str],
    text: str,
    marks: Marks,
    literal: np.ndarray,
    origins: np.ndarray,
) -> bool:
    """Enter what the text has at each gap in addition to the template's text.

    Returns:
        False, without an entry, if some of it is not what the messages have there.
    """
    entries = []
    for gap, between in zip(outer, texts, strict=True):
        pattern, groups = make_pattern(gap, between, marks, literal)
        match = re.fullmatch(pattern, text[gap.start : gap.end])
        if match is None:
            return False
        for group, characters in enumerate(groups, 1):
            kept = match[group]
            if characters.stop == gap.right:  # the end of a head is kept
                first = characters.stop - len(kept)
            else:
                first = characters.start + marks.text[characters].find(kept)
            entries.append((gap.start + match.start(group), first, len(kept)))
    for place, first, n in entries:
        origins[place : place + n] = np.arange(first, first + n)
    return True
