"""Files that are written whole or not at all, and files that are read safely.

A folder may come from somebody else. A name in it may be a link that leads out of the folder, a
pipe that never ends or a device. So new files get a name that nobody can guess, and only regular
files are opened.
"""

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from crosscoder.errors import UserError, translate_write_errors
from crosscoder.runtime import signals

SPECIAL_FILES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
TEMPORARY_NAME = re.compile(r".*\.[0-9a-f]{16}\.tmp")  # as make_temporary_path makes them


@contextmanager
def atomic_write(path: str | Path, permissions: int | None = None) -> Iterator[Path]:
    """Yield a new empty file next to `path`, and rename it to `path` at the end of the block.

    If the block fails, `path` stays as it was and the new file is deleted. If `path` is a link, the
    link is replaced and its target stays as it was.

    Args:
        path: File to write.
        permissions: Permissions of the file. None: those of the user's umask, even if a library
            replaces the new file by one of its own.

    Raises:
        OSError: The disk is full or cannot be written; the error names `path`.
    """
    path = Path(path)
    temporary = make_temporary_path(path)
    delete = partial(temporary.unlink, missing_ok=True)
    try:
        with translate_write_errors(path), signals.cleanup(delete):
            created_with = _create(temporary)
            yield temporary
            temporary.chmod(created_with if permissions is None else permissions)
            temporary.replace(path)
    finally:
        delete()


def _create(path: Path) -> int:
    """Create an empty file that does not exist yet, and return its permissions."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    permissions = stat.S_IMODE(os.fstat(descriptor).st_mode)
    os.close(descriptor)
    return permissions


def make_temporary_path(path: Path) -> Path:
    """Return the path of a file next to `path` that does not exist and that nobody can guess."""
    return path.with_name(f"{path.name[:64]}.{secrets.token_hex(8)}.tmp")


def write_text(path: str | Path, content: str) -> None:
    """Write a text file whole or not at all. Make its folder if it does not exist.

    Half of a surrogate pair, which no text file can hold, is written as its number.
    """
    make_folders(Path(path).parent)
    with atomic_write(path) as temporary:
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")


def replace_text(path: str | Path, content: str) -> None:
    """Replace the text of a user's file, whole or not at all.

    A link stays and its target is written. The file keeps its permissions.
    """
    target = Path(path)
    if target.is_symlink():
        target = target.resolve()
    permissions = stat.S_IMODE(target.stat().st_mode)
    with atomic_write(target, permissions) as temporary:
        temporary.write_bytes(content.encode("utf-8", errors="backslashreplace"))


def make_folders(folder: str | Path) -> None:
    """Make a folder and its parents if they do not exist.

    Raises:
        OSError: The folder cannot be made; the error names it.
    """
    with translate_write_errors(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)


def delete_unfinished(folder: str | Path, start: str) -> None:
    """Delete temporary files of killed processes whose names begin with `start`.

    No other process may be writing them.
    """
    for path in Path(folder).iterdir():
        if path.name.startswith(start) and TEMPORARY_NAME.fullmatch(path.name):
            path.unlink(missing_ok=True)


def require_regular(path: str | Path) -> None:
    """Refuse a folder, a pipe, a device or a socket. Links to regular files are allowed.

    Raises:
        UserError: The path is not a regular file, or cannot be read.
    """
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        raise _refuse_special(path, mode)


def read_bytes(path: str | Path) -> bytes:
    """Read a regular file.

    Raises:
        UserError: The path is not a regular file, or cannot be read.
    """
    try:
        # without O_NONBLOCK, opening a pipe waits until somebody writes to it
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISREG(mode):
                return file.read()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    raise _refuse_special(path, mode)


def read_text(path: str | Path) -> str:
    """Read a regular file as UTF-8 text.

    Raises:
        UserError: The path is not a regular file, cannot be read, or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 (byte {error.start + 1})") from error


def _refuse_special(path: str | Path, mode: int) -> UserError:
    """Return the error for a path that is not a regular file."""
    found = SPECIAL_FILES.get(stat.S_IFMT(mode), "no regular file")
    return UserError(f"cannot read {path}: it is {found}, not a file")
