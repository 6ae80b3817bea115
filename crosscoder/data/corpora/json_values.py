"""Read JSON values one after the other from a text of any length, in memory for the longest one."""

import io
import json
from typing import Any

from crosscoder.io.jsonl import LONGEST

CHUNK = 2**20  # characters read at a time


class JsonValues:
    """Reads JSON values one after the other from a text of any length."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._start = 0  # of the unread characters in the buffer
        self._has_ended = False

    def peek(self) -> str:
        """Return the next character that is not white space without reading it; "" at the end."""
        while True:
            while self._start < len(self._buffer) and self._buffer[self._start].isspace():
                self._start += 1
            if self._start < len(self._buffer) or self._has_ended:
                return self._buffer[self._start : self._start + 1]
            self._read(CHUNK)

    def skip(self) -> None:
        """Skip the character that `peek` returned."""
        self._start += 1

    def take(self) -> Any:
        """Read a value.

        Raises:
            ValueError: There is no value, it is cut off, or it is longer than LONGEST.
            RecursionError: It is nested too deeply.
        """
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._start)
            except json.JSONDecodeError:
                if self._has_ended:
                    raise
            else:
                # "12" may be the beginning of "123"
                if end < len(self._buffer) or self._has_ended:
                    self._start = end
                    return value
            n_held = len(self._buffer) - self._start
            if n_held > LONGEST:
                raise ValueError(f"no value ends within {LONGEST:,} characters")
            # read twice as much each time, so that a long value is not parsed too often
            self._read(max(CHUNK, n_held))

    def _read(self, n: int) -> None:
        more = self._text.read(n)
        self._has_ended = not more
        self._buffer = self._buffer[self._start :] + more
        self._start = 0
