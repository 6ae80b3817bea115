"""Print names and values in lines that break between words only.

There is no box around them, so that paths and commands can be copied.
"""

from collections.abc import Iterable
from itertools import zip_longest

from rich.console import Console

from crosscoder.terminal.escapes import escape_controls
from crosscoder.terminal.words import print_words, wrap_words

GAP = 2  # columns between names and values
MAX_NAME_WIDTH = 26  # a longer name stands on a line of its own


def print_pairs(
    console: Console, title: str, pairs: Iterable[tuple[str, str]], is_whole: bool = False
) -> None:
    """Print a title, and a name and a value per line.

    Args:
        console: Console to print to.
        title: The title.
        pairs: Names and values.
        is_whole: Whether each value stays on one line, however long it is: it is a path or a
            command. Other values are wrapped between words.
    """
    if title:
        print_words(console, title, "bold")
    for line in format_pairs(list(pairs), console.width, is_whole):
        console.print(line, highlight=False, soft_wrap=True)
    console.print()


def format_pairs(pairs: list[tuple[str, str]], width: int, is_whole: bool = False) -> list[str]:
    """Return the lines of `print_pairs` after the title."""
    escaped = [(escape_controls(name), escape_controls(value)) for name, value in pairs]
    short_names = [len(name) for name, _ in escaped if len(name) <= MAX_NAME_WIDTH]
    indent = min(max(short_names, default=0), MAX_NAME_WIDTH) + GAP
    lines = []
    for name, value in escaped:
        pieces = [value] if is_whole else wrap_words(value, width - indent)
        starts = [name]
        if len(name) > MAX_NAME_WIDTH:
            lines.append(name)
            starts = []
            pieces = [piece for piece in pieces if piece]
        for start, piece in zip_longest(starts, pieces, fillvalue=""):
            lines.append(f"{start:<{indent}}{piece}".rstrip())
    return lines
