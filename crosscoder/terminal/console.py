"""A console that shows every string literally.

Names and paths come from users and from files. `[red]` in a name is not a colour, `:key:` is not a
picture, and no escape sequence reaches the terminal.
"""

from typing import Any

from rich.console import Console
from rich.text import Text

from crosscoder.terminal.escapes import escape_controls


class TextConsole(Console):
    """Rich console without markup, emoji codes and control characters in strings."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Convert a string, printed or in a table, to rich's text."""
        return super().render_str(escape_controls(text), **settings)
