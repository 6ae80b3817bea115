"""Errors a person can act on, and how entry points show them: one line, exit code ≠ 0, no traceback."""

import errno
import functools
from collections.abc import Callable

from rich.console import Console


class UserError(Exception):
    """Something the user can put right; its message names what and where."""


def one_line(main: Callable) -> Callable:
    """An entry point whose expected failures end in one readable line. Unexpected ones keep their traceback."""

    @functools.wraps(main)
    def wrapped(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except UserError as error:
            message = str(error)
        except KeyboardInterrupt:
            _say("stopped: what was complete is kept; the same command goes on from there")
            raise SystemExit(130) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise
            message = f"cannot write {error.filename or ''}: {error.strerror}; what was complete is kept"
        _say(f"error: {message}")
        raise SystemExit(1) from None

    return wrapped


def _say(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(message, style="bold red", markup=False, highlight=False)
