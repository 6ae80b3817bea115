"""Files of JSON: one value a line, a list of objects, or an object that holds such a list.

    {"text": …}              [{"text": …},                {"version": "1.0",
    {"text": …}               {"text": …}]                 "data": [{"text": …}, {"text": …}]}

The content decides which of these a file is, since .json files often hold lines, and .jsonl files
sometimes a list. A list is read object by object, so memory does not grow with the file. An object
is read whole, up to MAX_OBJECT_BYTES.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from crosscoder.data.corpora.json_values import JsonValues
from crosscoder.data.corpora.opening import (
    CONVERT,
    NOT_UTF8,
    decode_text,
    get_kind,
    open_bytes,
    require_utf8,
)
from crosscoder.data.corpora.rows import show_names
from crosscoder.errors import UserError
from crosscoder.io.jsonl import BOM, LONGEST, parse_lines
from crosscoder.io.schema import parse_json

FoundRow: TypeAlias = tuple[str, Any, str]
"""The place of a row, its value, and the reason if it has none."""

MAX_OBJECT_BYTES = 2**28  # of a file that is one object


def read_json_rows(path: str | Path, column: str) -> Iterator[FoundRow]:
    """Read the rows of a .json or .jsonl file.

    Args:
        path: The file.
        column: The column of the documents; a single object that has it is a row.

    Raises:
        UserError: The file is not JSON, or has no rows.
    """
    if _holds_lines(path):
        with open_bytes(path) as file:
            for line in parse_lines(file, str(path)):
                yield line.where, line.value, line.error
        return
    with open_bytes(path) as file:
        if _first_character(file) == b"{":
            yield from _read_object(file, path, column)
        else:
            with decode_text(file) as text:
                yield from _read_list(JsonValues(text), path)


def _holds_lines(path: str | Path) -> bool:
    """Tell whether a file has one JSON value a line."""
    is_jsonl = get_kind(path) == ".jsonl"
    with open_bytes(path) as file:
        require_utf8(file, path)
        first = b""
        while not first and (line := file.readline(LONGEST)):
            first = line.removeprefix(BOM).strip()
        if not first:
            return True  # an empty file
        try:
            value = json.loads(first)
        except (ValueError, RecursionError):
            # the first line of a list or an object over several lines, or a line that is broken
            return is_jsonl and not (first.startswith(b"[") or first == b"{")
        has_more = any(not line.isspace() for line in iter(lambda: file.readline(LONGEST), b""))
        return has_more or (is_jsonl and not isinstance(value, list))


def _first_character(file: io.BufferedIOBase) -> bytes:
    """Return the first character that is not white space without reading it."""
    if file.peek(len(BOM))[: len(BOM)] == BOM:  # type: ignore[attr-defined]
        file.read(len(BOM))
    while (character := file.peek(1)[:1]).isspace():  # type: ignore[attr-defined]
        file.read(1)
    return character


def _read_list(values: JsonValues, path: str | Path) -> Iterator[FoundRow]:
    if values.peek() != "[":
        raise UserError(f"{path} is not JSON: it begins with {values.peek()!r}, not with [ or {{")
    values.skip()
    number = 0
    while values.peek() != "]":
        number += 1
        where = f"{path}, row {number}"
        value = _take_value(values, where)
        if _has_escaped_bytes(value):
            yield where, None, f"{NOT_UTF8}: {CONVERT}"
        else:
            yield where, value, ""
        _skip_comma(values, where)
    values.skip()
    rest = values.peek()
    if rest:
        raise UserError(
            f"{path} is not JSON: {rest!r} follows the end of the list of {number:,} rows"
        )


def _take_value(values: JsonValues, where: str) -> Any:
    try:
        return values.take()
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error.msg}); the file may be cut off") from error
    except RecursionError as error:
        raise UserError(f"{where}: not JSON that can be read (nested too deeply)") from error
    except ValueError as error:
        raise UserError(f"{where}: not JSON that can be read ({error})") from error


def _skip_comma(values: JsonValues, where: str) -> None:
    """Skip the comma between two values; after the last value there is none."""
    if values.peek() == ",":
        values.skip()
        if values.peek() == "]":
            raise UserError(f"{where}: not JSON (the list ends after a comma)")
    elif values.peek() != "]":
        raise UserError(f"{where}: not JSON (expected , or ] after it); the file may be cut off")


def _has_escaped_bytes(value: Any) -> bool:
    """Tell whether a text in a value had bytes that are not UTF-8.

    `surrogateescape` has turned these bytes into \\udc80 to \\udcff.
    """
    if isinstance(value, str):
        return not value.isascii() and any("\udc80" <= character <= "\udcff" for character in value)
    if isinstance(value, dict):
        return any(_has_escaped_bytes(item) for item in value.values())
    return isinstance(value, list) and any(_has_escaped_bytes(item) for item in value)


def _read_object(file: io.BufferedIOBase, path: str | Path, column: str) -> Iterator[FoundRow]:
    content = file.read(MAX_OBJECT_BYTES + 1)
    if len(content) > MAX_OBJECT_BYTES:
        raise UserError(
            f"{path} is one JSON object of more than {MAX_OBJECT_BYTES >> 20} MiB: "
            "write only the list in it, or one object a line (.jsonl)"
        )
    found = parse_json(content, dict, str(path))
    if column in found:
        if isinstance(found[column], dict) or _is_list_of(found[column], str):
            raise UserError(
                f"{path} holds columns, not rows: write it with one object a row "
                "(in pandas: orient='records')"
            )
        yield str(path), found, ""
        return
    key = _find_list(found, path)
    for number, row in enumerate(found[key], 1):
        yield f"{path}, {key!a:.40} row {number}", row, ""


def _find_list(found: dict, path: str | Path) -> str:
    """Return the key of the only list of objects."""
    lists = [key for key, value in found.items() if _is_list_of(value, dict)]
    if len(lists) == 1:
        return lists[0]
    if lists:
        description = f"lists under {show_names(lists)}"
    else:
        description = f"no list of objects, but {show_names(found)}"
    raise UserError(
        f"{path} is one object with {description}: "
        "write the rows as a list, or one object a line (.jsonl)"
    )


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and len(value) > 0 and isinstance(value[0], kind)
