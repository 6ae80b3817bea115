"""Open files of text and of rows, compressed or not. The name of a file says what it holds."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pyarrow as pa

from crosscoder.errors import UserError, first_line
from crosscoder.io.files import require_regular
from crosscoder.io.lfs import LFS_START, is_lfs_pointer

PROSE = ("", ".txt", ".text", ".md", ".rst")
ROWS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
NOT_UTF8 = "not text in UTF-8"
CONVERT = "save it as UTF-8, e.g. with iconv"
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)


def get_kind(path: str | Path) -> str:
    """Return the kind of a file by its name.

    Returns:
        `.txt` for a file that is one document; for a file of rows its ending, without that of its
        compression.

    Raises:
        UserError: Files of this kind cannot be read.
    """
    name = Path(path)
    is_compressed = name.suffix.lower() in COMPRESSED
    uncompressed = name.with_suffix("") if is_compressed else name
    ending = uncompressed.suffix.lower()
    if ending == ".ndjson":
        return ".jsonl"
    if ending in ROWS and not (is_compressed and ending == ".parquet"):
        return ending
    if ending in PROSE and not (is_compressed and not ending):
        return ".txt"
    raise UserError(
        f"{path} cannot be read as text: expected .txt, .md or .rst (one document a file), or "
        ".jsonl, .json, .csv, .tsv or .parquet (one a row), all but parquet also with .gz, .bz2, "
        ".xz or .zst; write its documents as one of these"
    )


@contextmanager
def open_bytes(path: str | Path) -> Iterator[io.BufferedIOBase]:
    """Open a file for reading bytes, decompressed; the file has `peek`.

    Raises:
        UserError: The file cannot be read, is damaged, or is a pointer of Git LFS.
    """
    require_regular(path)
    try:
        with _open(Path(path)) as file:
            if is_lfs_pointer(file.peek(len(LFS_START))):  # type: ignore[attr-defined]
                raise UserError(
                    f"{path} is a Git LFS pointer, not the data: fetch them with git lfs pull"
                )
            yield file
    except BROKEN as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"cannot read {path}: {reason}") from error


def _open(path: Path) -> io.BufferedIOBase:
    ending = path.suffix.lower()
    if ending == ".gz":
        return cast(io.BufferedIOBase, gzip.open(path, "rb"))
    if ending == ".bz2":
        return cast(io.BufferedIOBase, bz2.open(path, "rb"))
    if ending == ".xz":
        return cast(io.BufferedIOBase, lzma.open(path, "rb"))
    if ending == ".zst":
        stream = pa.input_stream(str(path), compression="zstd")
        return cast(io.BufferedIOBase, io.BufferedReader(stream))
    return path.open("rb")


@contextmanager
def decode_text(file: io.BufferedIOBase, encoding: str = "utf-8-sig") -> Iterator[io.TextIOWrapper]:
    """Read an open file as text, without changing line ends.

    Bytes that are not UTF-8 become lone surrogates, so that only the rows that have them are left
    out.
    """
    with io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="") as text:  # type: ignore[arg-type]
        yield text


def describe_encoding(file: io.BufferedIOBase) -> str:
    """Return the encoding of a file that begins like UTF-16 or UTF-32; empty for any other."""
    beginning = file.peek(4)[:4]  # type: ignore[attr-defined]
    n_zeros = beginning.count(0)
    if beginning in (b"\xff\xfe\0\0", b"\0\0\xfe\xff") or n_zeros == 3:
        return "UTF-32"
    if beginning[:2] in (b"\xff\xfe", b"\xfe\xff") or 0 < n_zeros < len(beginning):
        return "UTF-16"
    return ""


def require_utf8(file: io.BufferedIOBase, path: str | Path) -> None:
    """Refuse a file whose first bytes are those of another encoding than UTF-8.

    Raises:
        UserError: With the encoding.
    """
    encoding = describe_encoding(file)
    if encoding:
        raise UserError(f"{path} is {encoding}, {NOT_UTF8} (byte 1): {CONVERT}")
