"""Figures in documents: a Markdown table, and its place between two marks, so that no figure is typed by hand."""

from collections.abc import Sequence

from crosscoder.errors import UserError


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: names on the left, figures on the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def put(text: str, begin: str, end: str, new: str) -> str:
    """A document with what stands between its marks replaced."""
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise UserError(f"the document has no place for figures: it needs {begin} and {end}")
    return f"{before}{begin}\n{new}\n{end}{after}"
