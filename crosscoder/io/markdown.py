"""Write Markdown tables, and replace the text between two marks of a document."""

from collections.abc import Sequence

from crosscoder.errors import UserError
from crosscoder.terminal.escapes import escape_controls


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with its first column on the left and the others on the right."""
    alignment = ["---", *["---:"] * (len(header) - 1)]
    lines = [_format_row(header), f"| {' | '.join(alignment)} |", *map(_format_row, rows)]
    return "\n".join(lines)


def replace_between(text: str, begin: str, end: str, new: str) -> str:
    """Replace what stands between two marks of a document.

    Raises:
        UserError: The document lacks one of the marks.
    """
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise UserError(f"the document has no place for figures: it needs {begin} and {end}")
    return f"{before}{begin}\n{new}\n{end}{after}"


def _format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escape_cell, cells))} |"


def _escape_cell(text: str) -> str:
    """Escape bars, line breaks, control characters and tags, so that a text stays in its cell."""
    return escape_controls(" ".join(text.split())).replace("|", "\\|").replace("<", "&lt;")
