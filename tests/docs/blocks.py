"""Read the code blocks of README and of the documentation's pages, with the comments above them.

A comment on a line of its own, above a block, says how a test treats the block:

    <!-- not run: REASON -->      the block is not run, for this reason
    <!-- run with: KEY=VALUE -->  settings that the test adds to the block's commands
    <!-- file: NAME -->           the block is a file that other blocks of the page need
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN_LANGUAGES = ("python", "bash")
SHOWN_LANGUAGES = ("text", "json", "yaml", "toml")
# an empty environment is needed for these; tests/e2e/test_installed.py runs them
OTHER_LANGUAGES = ("console",)
LANGUAGES = RUN_LANGUAGES + SHOWN_LANGUAGES + OTHER_LANGUAGES

# what is indented further is part of an indented block, e.g. of a model's answer
FENCE = re.compile(r"(?P<indent> {0,4})(?P<fence>`{3,}|~{3,})(?P<language>[^`]*)")
# a whole block with both fences
FENCED = re.compile(r"^ {0,4}(`{3,}|~{3,}).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r" *<!-- *(?P<text>.*?) *-->")
MARK = re.compile(r"(?P<kind>not run|run with|file): *(?P<value>.*)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        page: The page's path below the repository's root.
        line: Number of the line of its fence, from 1.
        language: The word behind the fence; empty if there is none.
        text: Its lines, without the indentation of the fence.
        marks: The comments above it: `not run`, `run with` and `file`, with their values.
    """

    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        is_code = self.language in RUN_LANGUAGES
        return is_code and "not run" not in self.marks and "file" not in self.marks


def list_pages() -> list[Path]:
    """List README and every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def list_blocks(page: Path) -> list[Block]:
    """List the fenced blocks of a page in order."""
    name = str(page.relative_to(ROOT))
    return list(parse_blocks(page.read_text(encoding="utf-8"), name))


def parse_blocks(text: str, page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a text.

    Raises:
        ValueError: A block has no end.
    """
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        opened = FENCE.fullmatch(lines[at])
        if not opened:
            at += 1
            continue
        end = _find_end(lines, at, opened["fence"])
        if end is None:
            raise ValueError(f"{page}:{at + 1}: the block has no end")
        indent = len(opened["indent"])
        inside = [line[indent:] for line in lines[at + 1 : end]]
        yield Block(
            page,
            at + 1,
            opened["language"].strip(),
            "".join(f"{line}\n" for line in inside),
            dict(_read_marks(lines[:at])),
        )
        at = end + 1


def _find_end(lines: list[str], start: int, fence: str) -> int | None:
    for number in range(start + 1, len(lines)):
        if lines[number].strip() == fence:
            return number
    return None


def _read_marks(above: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the marks in the comments directly above a block."""
    for line in reversed(above):
        comment = COMMENT.fullmatch(line)
        if line.strip() and not comment:
            return
        mark = MARK.fullmatch(comment["text"]) if comment else None
        if mark:
            yield mark["kind"], mark["value"]
