"""Errors that a user can act on. Entry points show them in one line, without a traceback."""

import errno
import functools
import os
import re
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from crosscoder.terminal.console import TextConsole
from crosscoder.terminal.escapes import escape_controls

# the disk is full or read-only, the file is too large for the process, or the name is taken
WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EEXIST)
# errors of reading as well as of writing: no permission, a broken disk, a name that leads nowhere
DISK_ERRORS = (
    *WRITE_ERRORS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ESTALE,
)


class UserError(Exception):
    """Error that the user can correct; the message names the cause and the place."""


class NotApplicable(UserError):
    """Not applicable to this crosscoder: an error if requested, skipped if only a default."""


class WriteError(OSError):
    """Operating system error of a file that cannot be written."""


def exit_on_error(*expected: type[Exception]) -> Callable[[Callable], Callable]:
    """Decorate an entry point: expected errors end it with one line, others keep their traceback.

    Expected are a UserError, also as the cause of another error, a disk that cannot be written, and
    Ctrl-C.

    Args:
        expected: Further types of errors.
    """

    def decorate(main: Callable) -> Callable:
        @functools.wraps(main)
        def wrapped(*args, **kwargs):
            try:
                return main(*args, **kwargs)
            except KeyboardInterrupt:
                _print("stopped: complete files are kept; the same command continues from there")
                raise SystemExit(130) from None
            except Exception as error:
                if isinstance(error, BrokenPipeError) and _is_output_closed():
                    raise SystemExit(1) from None  # e.g. `| head` has seen enough
                message = describe_error(error, expected)
                if message is None:
                    raise
                print_error(message)
                raise SystemExit(1) from None

        return wrapped

    return decorate


def _is_output_closed() -> bool:
    """Return whether nobody reads the output any more; if so, discard what is left of it."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError):  # it is no file, e.g. in a notebook
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    is_closed = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if is_closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return is_closed


@contextmanager
def translate_write_errors(path: str | Path) -> Iterator[None]:
    """Turn a library's error of a disk that cannot be written into a WriteError with the path."""
    try:
        yield
    except UserError:  # its message is good already
        raise
    except Exception as error:
        if number := _find_errno(error):
            raise WriteError(number, os.strerror(number), str(path)) from error
        raise


@contextmanager
def translate_read_errors(path: str | Path) -> Iterator[None]:
    """Turn a library's error of a file that cannot be read into a UserError with the path.

    Raises:
        UserError: The file cannot be read, or does not exist.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"cannot read {path}: {os.strerror(errno.ENOENT)}") from error
    except Exception as error:
        if number := _find_errno(error):
            raise UserError(f"cannot read {path}: {os.strerror(number)}") from error
        raise


def _find_errno(error: BaseException) -> int | None:
    """Return the errno of a disk error, or of a disk error that caused it."""
    for cause in walk_causes(error):
        number = _read_errno(cause)
        if number in DISK_ERRORS:
            return number
    return None


def walk_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def describe_error(error: Exception, expected: tuple[type[Exception], ...] = ()) -> str | None:
    """Describe an expected error in one line; return None for an unexpected one, which is a bug."""
    for cause in walk_causes(error):
        if isinstance(cause, UserError):
            return str(cause)
        number = _read_errno(cause)
        if number in DISK_ERRORS:
            return _describe_disk_error(cause, number)
        if isinstance(cause, RuntimeError) and "home directory" in str(cause):  # pathlib's, for ~
            return (
                "no home directory is known for ~: set HOME, or CROSSCODER_CACHE to a folder for "
                "activations"
            )
    if not isinstance(error, expected):
        return None
    # Hydra adds its search path, which does not help after a typing error
    message = str(error).partition("Config search path")[0]
    return " ".join(message.split())


def _describe_disk_error(error: BaseException, number: int) -> str:
    """Name the file, and whether it was being written, as far as the error tells."""
    target = getattr(error, "filename2", None)  # destination of a copy or a rename
    path = target or getattr(error, "filename", None)
    name = f" {path}" if path else ""
    if isinstance(error, WriteError) or target or number in WRITE_ERRORS:
        return f"cannot write{name}: {os.strerror(number)}; complete files are kept"
    return f"cannot read or write{name}: {os.strerror(number)}"


def _read_errno(error: BaseException) -> int:
    """Return the errno of an error, or 0.

    safetensors is written in Rust and gives the number in its message only.
    """
    if isinstance(error, OSError):
        return error.errno or 0
    if not isinstance(error, SafetensorError):
        return 0
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else 0


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's name if there is none."""
    lines = str(error).splitlines()
    if lines and lines[0]:
        return lines[0]
    return type(error).__name__


def plain(text: Any, limit: int = 200) -> str:
    """Return foreign text for a message: one line of `limit` characters without controls."""
    words = escape_controls(" ".join(str(text).split()))
    return words if len(words) <= limit else f"{words[:limit]}…"


def describe_foreign(error: BaseException) -> str:
    """Return the message of a library's error in one line, or its name if it has no message."""
    message = plain(error, 300)
    name = type(error).__name__
    if not message:
        return name
    if isinstance(error, LookupError):  # its message is the missing key alone
        return f"{name}: {message}"
    return message


def print_error(message: str) -> None:
    """Print an error as entry points do."""
    _print(f"error: {' '.join(message.splitlines())}")


def _print(message: str) -> None:
    TextConsole(stderr=True, soft_wrap=True).print(message, style="bold red", highlight=False)
