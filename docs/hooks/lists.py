"""Indent the content of lists as Python-Markdown expects it.

The pages are written for code hosts: the content of a list item begins where its text does, two
columns behind a dash and three behind `1.`. Python-Markdown, which makes the site, expects four
columns at each level.
"""

import re
from typing import NamedTuple

LEVEL = 4  # columns of a level in Python-Markdown
MARKER = re.compile(r"( *)([-*+]|\d+\.) +(?=\S)")
FENCE = re.compile(r" *(`{3,}|~{3,})")


class Item(NamedTuple):
    """An item of a list: the column of its content, and the columns that it needs in addition."""

    start: int
    missing: int


def indent_lists(markdown: str) -> str:
    """Return a page with the content of its lists indented by four columns at each level."""
    lines = []
    items: list[Item] = []  # the open ones, outermost first
    fence = ""
    for line in markdown.split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        if line.strip() and not fence:
            items = [item for item in items if item.start <= indent]
        missing = sum(item.missing for item in items)
        lines.append(" " * missing + line if line.strip() else line)
        is_code = items and indent >= items[-1].start + LEVEL
        found = FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif found and not is_code:
            fence = found[1]
        elif (marker := MARKER.match(line)) and not is_code:
            # without a list around it, it may be in a note, whose content has four columns
            before = items[-1].start if items else indent // LEVEL * LEVEL
            width = marker.end() - before
            items.append(Item(marker.end(), LEVEL - width))
    return "\n".join(lines)
