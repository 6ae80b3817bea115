"""Print text in lines that break between words only, so that numbers and paths stay whole."""

import textwrap

from rich.console import Console

from crosscoder.terminal.escapes import escape_controls


def print_words(console: Console, text: str, style: str | None = None) -> None:
    """Print a paragraph. A word that is longer than the terminal is wide stays whole."""
    for line in wrap_words(escape_controls(text), console.width) or [""]:
        console.print(line, style=style, highlight=False, soft_wrap=True)


def wrap_words(text: str, width: int) -> list[str]:
    """Return the lines of a text. A word that is longer than `width` has a line of its own."""
    return textwrap.wrap(text, max(1, width), break_long_words=False, break_on_hyphens=False)
