"""Files that hold one document each. A long file is read in pieces, each a document of its own.

Otherwise a file of a gigabyte would be tokenised at once, and all of it would be in the same split.
Pieces end at the end of a line, or else of a word, and together they are the whole text.
"""

import io
from collections.abc import Iterator
from pathlib import Path

from crosscoder.data.corpora.opening import (
    CONVERT,
    NOT_UTF8,
    decode_text,
    describe_encoding,
    open_bytes,
)
from crosscoder.data.corpora.rows import Row

LONG = 1_000_000  # characters: a longer text is read in pieces
MAX_PIECE = 10_000  # characters, about 2,500 tokens
MIN_PIECE = 1_000  # characters, of a short text
N_PIECES = 64  # of a short text, so that each split gets some


def read_prose(path: str | Path, in_pieces: bool = False) -> Iterator[Row]:
    """Read a text file as one row, or a long one as several.

    Args:
        path: The file.
        in_pieces: Whether a short text is read in pieces, too.

    Raises:
        UserError: The file cannot be read.
    """
    with open_bytes(path) as file:
        encoding = describe_encoding(file)
        if encoding:
            yield Row(str(path), reason=f"{NOT_UTF8} but {encoding} (byte 1): {CONVERT}")
            return
        with decode_text(file, "utf-8") as text:
            start = text.read(LONG + 1)
            is_long = len(start) > LONG
            size = MAX_PIECE if is_long else _choose_piece_size(len(start))
            if not is_long and (not in_pieces or len(start) <= size):
                yield _make_row(str(path), start)
                return
            for number, piece in enumerate(_cut_pieces(text, start, size), 1):
                yield _make_row(f"{path}, piece {number}", piece)


def _choose_piece_size(n_characters: int) -> int:
    return min(max(n_characters // N_PIECES, MIN_PIECE), MAX_PIECE)


def _cut_pieces(text: io.TextIOBase, start: str, size: int) -> Iterator[str]:
    """Cut a text into pieces of at most `size` characters; its beginning has been read already."""
    buffer = start
    while True:
        if len(buffer) <= size:
            buffer += text.read(MAX_PIECE)
        if len(buffer) <= size:
            break
        end = buffer.rfind("\n", size // 2, size) + 1
        if not end:
            end = buffer.rfind(" ", size // 2, size) + 1
        if not end:
            end = size
        yield buffer[:end]
        buffer = buffer[end:]
    if buffer:
        yield buffer


def _make_row(where: str, text: str) -> Row:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = len(text[: error.start].encode()) + 1
        return Row(where, reason=f"{NOT_UTF8} (byte {byte}): {CONVERT}")
    text = text.removeprefix("\ufeff")
    # the same line ends as Python's text files have
    return Row(where, text.replace("\r\n", "\n").replace("\r", "\n"))
