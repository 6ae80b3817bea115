"""Errors a person can act on, and how entry points show them: one line, exit code ≠ 0, no traceback."""

import errno
import functools
from collections.abc import Callable

from rich.console import Console

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


def _message(error: Exception, expected: tuple[type[Exception], ...]) -> str | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, OSError) and cause.errno in WRITE_ERRORS:
            return f"cannot write {cause.filename or ''}: {cause.strerror}; what was complete is kept"
        cause = cause.__cause__ or cause.__context__
    # Hydra adds where it searched, which says nothing to who mistyped a name
    return " ".join(str(error).partition("Config search path")[0].split()) if isinstance(error, expected) else None


def _say(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(message, style="bold red", markup=False, highlight=False)
