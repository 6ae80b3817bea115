"""Files with one JSON value per line."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosscoder.errors import UserError

BOM = b"\xef\xbb\xbf"
LONGEST = 2**26  # bytes of a line: a longer one is not a row and would fill the memory


@dataclass(frozen=True)
class Line:
    """One line of a file.

    Args:
        where: File and number of the line, as it is shown to a user.
        value: The JSON value.
        error: Reason why there is no value. Empty if there is one.
    """

    where: str
    value: Any = None
    error: str = ""


def read_lines(path: Path) -> Iterator[Line]:
    """Read a file line by line. A line that is not JSON in UTF-8 has an error.

    Blank lines are skipped.
    """
    with path.open("rb") as file:
        yield from parse_lines(file, str(path))


def parse_lines(file: io.BufferedIOBase, name: str) -> Iterator[Line]:
    """Read an open file as `read_lines` does.

    Args:
        file: File opened in binary mode.
        name: Name of the file, as it is shown to a user.
    """
    number = 0
    while raw := file.readline(LONGEST):
        if len(raw) == LONGEST and not raw.endswith(b"\n"):
            number += 1
            where = f"{name}, line {number}"
            yield Line(where, error=f"longer than {LONGEST:,} bytes, which is no row")
            _skip_line(file)
            continue
        # a line ends as in Python's own text files: \n, \r\n or \r
        if number == 0:
            raw = raw.removeprefix(BOM)
        for text in raw.removesuffix(b"\n").removesuffix(b"\r").split(b"\r"):
            number += 1
            if text.strip():
                yield _parse(text, f"{name}, line {number}")


def read_json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield ("FILE, line N", value) of each line.

    Raises:
        UserError: A line is not JSON.
    """
    for line in read_lines(path):
        if line.error:
            raise UserError(f"{line.where}: {line.error}")
        yield line.where, line.value


def _skip_line(file: io.BufferedIOBase) -> None:
    """Read to the end of the current line."""
    while raw := file.readline(LONGEST):
        if raw.endswith(b"\n"):
            return


def _parse(raw: bytes, where: str) -> Line:
    try:
        return Line(where, json.loads(raw.decode("utf-8")))
    except UnicodeDecodeError as error:
        return Line(where, error=f"not text in UTF-8 (byte {error.start + 1} of the line)")
    except json.JSONDecodeError as error:
        return Line(where, error=f"not JSON ({error.msg})")
    except (ValueError, RecursionError) as error:  # a huge number, or brackets nested too deeply
        return Line(where, error=f"not JSON that can be read ({type(error).__name__})")
