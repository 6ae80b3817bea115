"""Errors a person can act on, and how entry points show them: one line, exit code ≠ 0, no traceback."""

import errno
import functools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from safetensors import SafetensorError

WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


class UserError(Exception):
    """Something the user can put right; its message names what and where."""


class NotApplicable(UserError):
    """Something that was asked for makes no sense here; where nobody asked, it is left out."""


def one_line(*expected: type[Exception]) -> Callable[[Callable], Callable]:
    """Decorates an entry point: expected failures end in one readable line, others keep their traceback.

    Expected are a UserError, also as the cause of another error, a disk that cannot be written, Ctrl-C, and `expected`.
    """

    def decorate(main: Callable) -> Callable:
        @functools.wraps(main)
        def wrapped(*args, **kwargs):
            try:
                return main(*args, **kwargs)
            except KeyboardInterrupt:
                _say("stopped: what was complete is kept; the same command goes on from there")
                raise SystemExit(130) from None
            except Exception as error:
                if (message := _message(error, expected)) is None:
                    raise
                _say(f"error: {message}")
                raise SystemExit(1) from None

        return wrapped

    return decorate


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """What a full or read-only disk makes of any library becomes the system's own error, with this path."""
    try:
        yield
    except Exception as error:
        if number := next(filter(WRITE_ERRORS.__contains__, map(_number, causes(error))), None):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _message(error: Exception, expected: tuple[type[Exception], ...]) -> str | None:
    for cause in causes(error):
        if isinstance(cause, UserError):
            return str(cause)
        if (number := _number(cause)) in WRITE_ERRORS:
            path = getattr(cause, "filename2", None) or getattr(cause, "filename", None)  # of a copy, where to
            return f"cannot write{f' {path}' if path else ''}: {os.strerror(number)}; what was complete is kept"
    # Hydra adds where it searched, which says nothing to who mistyped a name
    return " ".join(str(error).partition("Config search path")[0].split()) if isinstance(error, expected) else None


def _number(error: BaseException) -> int:
    """The system's number of an error, or 0; safetensors, which is written in Rust, has it in its text alone."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"\(os error (\d+)\)", str(error)) if isinstance(error, SafetensorError) else None
    return int(found[1]) if found else 0


def first_line(error: BaseException) -> str:
    """What an error says, in one line; of one that says nothing its name."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _say(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(message, style="bold red", markup=False, highlight=False)
