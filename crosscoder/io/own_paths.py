"""Remove the paths of this machine from what is uploaded: they are private, and of no use there."""

import html
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# an absolute path in a text, or one below the home folder; a lone slash is none
PATH = re.compile(r"(?<![\w./:~-])~?/[^\s'\",\]}<>]*\w[^\s'\",\]}<>]*")

SCRIPT = re.compile(r"(<script\b.*?</script>)", re.DOTALL)


def remove_paths(content: Any) -> Any:
    """Return JSON content without entries that are, or set, an absolute path."""
    if isinstance(content, dict):
        return {key: remove_paths(value) for key, value in content.items() if not is_path(value)}
    if isinstance(content, list):
        return [remove_paths(value) for value in content if not is_path(value)]
    return content


def is_path(value: Any) -> bool:
    """Return whether a value is an absolute path, or a setting `key=path`."""
    if not isinstance(value, str):
        return False
    _, equals, setting = value.partition("=")
    path = setting if equals else value
    return path.startswith(("/", "~"))


def find_paths(text: str) -> set[str]:
    """Return the absolute paths in a text, e.g. that of a config.yaml."""
    return set(PATH.findall(text))


def shorten_paths(page: str, paths: Iterable[str]) -> str:
    """Return an HTML page in which only the last part of each path is left.

    Scripts stay as they are: they hold code and packed numbers.
    """
    longest_first = sorted(paths, key=len, reverse=True)
    parts = SCRIPT.split(page)
    for place in range(0, len(parts), 2):  # scripts have the odd places
        for path in longest_first:
            name = html.escape(Path(path).name)
            parts[place] = parts[place].replace(html.escape(path), name)
    return "".join(parts)
