"""Rows of data: a document and its place, or the reason why a row has no document."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from crosscoder.errors import UserError, plain
from crosscoder.lm.chat.document import Document, Unusable
from crosscoder.lm.chat.messages import as_document

FIRST_ROWS = 20
"""Number of rows that are read before an error can concern all of them."""
MAX_NAMES = 12  # columns that a message lists
USUAL_COLUMNS = ("messages", "conversations", "conversation", "content", "text")


@dataclass(frozen=True)
class Row:
    """One row of data.

    Args:
        where: File and line, or data set and row, as a message shows it.
        document: The document.
        reason: Why there is no document; empty if there is one.
    """

    where: str
    document: Document | None = None
    reason: str = ""


def take_column(rows: Iterable[tuple[str, Any, str]], column: str, source: str) -> Iterator[Row]:
    """Yield the document in one column of each row.

    Args:
        rows: The place of each row, its value, and the reason if it has none.
        column: The column that holds text, or a chat (a list of messages).
        source: The file or data set, as a message shows it.

    Raises:
        UserError: None of the first 20 rows has that column, or none of all rows.
    """
    found_column = False
    without: list[list[str]] = []  # the columns of each row that lacks the column
    for where, value, reason in rows:
        if reason:
            yield Row(where, reason=reason)
        elif not isinstance(value, Mapping):
            yield Row(where, reason=f"expected an object with columns, found {value!r:.50}")
        elif column in value:
            found_column = True
            yield _make_row(where, value[column])
        else:
            names = [str(name) for name in value]
            without.append(names)
            if not found_column and len(without) == FIRST_ROWS:
                break
            yield Row(where, reason=f"no column '{column}'; it has {show_names(names)}")
    if without and not found_column:
        raise _make_missing_column_error(source, column, without)


def _make_missing_column_error(source: str, column: str, without: list[list[str]]) -> UserError:
    names = list(dict.fromkeys(chain.from_iterable(without)))
    usual = [name for name in USUAL_COLUMNS if name in names]
    hint = f": name it, e.g. data.corpora.0.column={usual[0]}" if usual else ""
    return UserError(
        f"{source} has no column '{column}' in its first {len(without)} rows; "
        f"it has {show_names(names)}{hint}"
    )


def show_names(names: Iterable[Any]) -> str:
    """Return names of columns as text; a file from elsewhere may have many, long or odd ones."""
    listed = list(names)
    shown = [plain(name, 40) for name in listed[:MAX_NAMES]]
    more = f" and {len(listed) - MAX_NAMES:,} more" if len(listed) > MAX_NAMES else ""
    return (", ".join(shown) or "none") + more


def _make_row(where: str, value: Any) -> Row:
    try:
        return Row(where, as_document(value))
    except Unusable as error:
        return Row(where, reason=str(error))
