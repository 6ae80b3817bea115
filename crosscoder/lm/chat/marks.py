"""Marks: code points that stand for the characters of a chat's messages, one for each character."""

import re
from collections.abc import Callable, Iterable

import numpy as np

from crosscoder.lm.chat.document import Unusable

# planes 4 to 16 of Unicode hold no characters, so no string method treats these code points as
# letters, digits or white space
FIRST_MARK = 0x40000
N_MARKS = 0x110000 - FIRST_MARK


class Marks:
    """All characters of the messages, joined, and the marks that stand for them.

    Attributes:
        text: Contents of all messages, joined.
        codes: Code points of the text.
        starts: Start of each message in the text, and the length of the text.
        message: Number of the message of each character.
    """

    def __init__(self, contents: list[str]) -> None:
        self.text = "".join(contents)
        if len(self.text) + len(contents) > N_MARKS:
            raise Unusable(
                f"a chat has at most {N_MARKS:,} characters, this one has {len(self.text):,}"
            )
        self.codes = encode(self.text)
        lengths = [len(content) for content in contents]
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
        self.message = np.repeat(np.arange(len(contents)), lengths)

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self.starts) - 1

    def get_slice(self, message: int) -> slice:
        """Return the place of a message in the text."""
        return slice(int(self.starts[message]), int(self.starts[message + 1]))

    def get_content(self, message: int) -> str:
        """Return the content of a message."""
        return self.text[self.get_slice(message)]

    def write_contents(self, literal: np.ndarray) -> list[str]:
        """Return every message in marks, except for its literal characters."""
        marked = self.write_text(literal)
        return [marked[self.get_slice(message)] for message in range(len(self))]

    def write_text(self, literal: np.ndarray) -> str:
        """Return the text in marks, except for its literal characters."""
        return decode(np.where(literal, self.codes, FIRST_MARK + np.arange(len(self.codes))))

    def get_message_mark(self, message: int) -> str:
        """Return a mark that stands for a whole message."""
        return chr(FIRST_MARK + len(self.codes) + message)

    def make_mask(self, places: Iterable[slice]) -> np.ndarray:
        """Return a mask of the text that is True at these places."""
        mask = np.zeros(len(self.text), dtype=bool)
        for place in places:
            mask[place] = True
        return mask

    def find_edge_spaces(self) -> np.ndarray:
        """Return a mask of the white space at both ends of each message."""
        mask = np.zeros(len(self.text), dtype=bool)
        for message in range(len(self)):
            content = self.get_content(message)
            start = self.starts[message]
            first = start + len(content) - len(content.lstrip())
            last = start + len(content.rstrip())
            mask[start:first] = True
            mask[last : start + len(content)] = True
        return mask

    def find_characters(self, test: Callable[[str], bool]) -> np.ndarray:
        """Return a mask of the characters that pass a test."""
        results = (test(character) for character in self.text)
        return np.fromiter(results, dtype=bool, count=len(self.text))

    def find_spaces_next_to(self, others: np.ndarray) -> list[slice]:
        """List the white space that touches these characters or an end of a message."""
        is_edge = self.find_edge_spaces()
        found = []
        for match in re.finditer(r"\s+", self.text):
            start, end = match.span()
            before = max(start - 1, 0)
            after = min(end, len(others) - 1)
            if is_edge[start] or is_edge[end - 1] or others[before] or others[after]:
                found.append(slice(start, end))
        return found

    def find_strings(self, strings: Iterable[str]) -> list[slice]:
        """List the places at which one of these strings occurs."""
        found = []
        for string in strings:
            start = self.text.find(string)
            while start >= 0:
                found.append(slice(start, start + len(string)))
                start = self.text.find(string, start + 1)
        return found


def encode(text: str) -> np.ndarray:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def decode(codes: np.ndarray) -> str:
    """Return the text of these code points."""
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def get_mark_numbers(codes: np.ndarray) -> np.ndarray:
    """Return the number of the mark of each code point, -1 for code points that are no marks."""
    return np.where(codes >= FIRST_MARK, codes.astype(int) - FIRST_MARK, -1)


def restore_text(marked: str | None, text: str, marks: Marks) -> np.ndarray | None:
    """Replace marks by their characters and return where each character comes from.

    Args:
        marked: Chat that was rendered with marks; None if the template refused it.
        text: Chat that was rendered without marks.
        marks: Messages of the chat.

    Returns:
        For each character of `text`, the number of the messages' character that it is, or -1. None
        if the restored text differs from `text`, upper and lower case aside.
    """
    if marked is None or len(marked) != len(text):
        return None
    codes = encode(marked)
    expected = encode(text)
    origins = get_mark_numbers(codes)
    if origins.max(initial=-1) >= len(marks.codes):
        return None
    restored = codes.copy()
    restored[origins >= 0] = marks.codes[origins[origins >= 0]]
    for place in np.flatnonzero(restored != expected):
        if origins[place] < 0 or chr(restored[place]).lower() != chr(expected[place]).lower():
            return None
    return origins
