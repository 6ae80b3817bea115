"""Signals that end the program: Ctrl-C, SIGTERM (a preempted job), SIGHUP (a closed terminal).

One handler serves from the first line of the program to the last. Files are written whole or not at
all, so the program may end at any moment: the handler prints one line and ends the process at once.
It raises nothing, since an exception would have to pass through libraries that print it, swallow it
or replace it. Only training asks for time, until the current batch is done and its checkpoint is
written (`Postponement`).

The scripts call `listen` before their other imports, which take seconds. So this module imports
nothing that takes time.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from crosscoder.runtime.leaving import end_children, is_child, leave_terminal, requeue_job

EXIT_CODE = 130  # for every signal; the shell's own code for Ctrl-C
KEPT = "complete files are kept; the same command continues from there"

_listener = 0  # id of the process that listens; a fork of it has another one
_cleanups: list[Callable[[], object]] = []
_open: list["Postponement"] = []
_handlers_before: dict[signal.Signals, Any] = {}


def listen() -> None:
    """End the program with one line when a signal comes from now on.

    Handlers that somebody else has set stay.
    """
    global _listener
    _listener = os.getpid()
    for number in _list_signals():
        handler = signal.getsignal(number)
        is_ignored = handler is signal.SIG_IGN  # a shell's background jobs ignore SIGINT
        if is_ignored or handler in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _handle)
    # Called last: all work is done then, and a late signal should not change the exit code.
    atexit.register(_ignore_all)


class Postponement:
    """A phase of the program that ends by itself soon after a signal.

    A third signal ends the program at once. A second one does not, since torchrun and terminals may
    both send one.

    Attributes:
        signal: The first signal that came. None before.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._n_signals = 0
        self._react: Callable[[], object] = lambda: None

    def begin(self, react: Callable[[], object]) -> None:
        """Take over the signals, even if nothing listens, as in a notebook.

        Only the main thread can do this; in another one, nothing happens.

        Args:
            react: Function to call when a signal comes. It interrupts the main thread.
        """
        self._react = react
        if threading.current_thread() is not threading.main_thread():
            return
        _open.append(self)
        if len(_open) == 1:
            for number in _list_signals():
                handler = signal.getsignal(number)
                # None is a handler that Python did not set, and that it could not set again
                if handler is not None:
                    _handlers_before[number] = handler
                    signal.signal(number, _handle)

    def end(self) -> None:
        """Restore the handlers from before."""
        if self not in _open:
            return
        _open.remove(self)
        if not _open:
            for number, handler in _handlers_before.items():
                signal.signal(number, handler)
            _handlers_before.clear()

    def note(self, number: signal.Signals) -> None:
        """Note a signal, and end the program if it is the third."""
        self.signal = self.signal or number
        self._n_signals += 1
        if self._n_signals == 3:
            _end_now(number)
        self._react()


@contextlib.contextmanager
def cleanup(clean: Callable[[], object]) -> Iterator[None]:
    """Call `clean` if a signal ends the program while the context is open."""
    _cleanups.append(clean)
    try:
        yield
    finally:
        _cleanups.remove(clean)


def exit_program(number: signal.Signals | None, kept: str) -> NoReturn:
    """End the program after a postponement. Later signals change nothing.

    Args:
        number: The signal. None if it came to another process of the run.
        kept: Message about what is kept and how to continue.

    Raises:
        SystemExit: Always.
    """
    if _listener == os.getpid():
        _ignore_all()  # else another signal would print a second line
    _print_end(number, kept)
    if number is not None:
        requeue_job(number)
    raise SystemExit(EXIT_CODE)


def leave_if_child() -> None:
    """End a process that multiprocessing has started, e.g. for a job of a sweep.

    Its pool would wait for another job.
    """
    if is_child():
        os._exit(EXIT_CODE)


def _list_signals() -> list[signal.Signals]:
    """List the signals that end the program."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    # nohup ignores it on purpose
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    if "SLURM_JOB_ID" in os.environ:  # sbatch --signal=USR1@SECONDS: little time is left
        numbers.append(signal.SIGUSR1)
    return numbers


def _handle(number: int, frame: Any) -> None:
    received = signal.Signals(number)
    if received.name == "SIGHUP":
        leave_terminal()
    if not _open:
        _end_now(received)
    for postponement in list(_open):
        postponement.note(received)


def _end_now(number: signal.Signals) -> NoReturn:
    """Print a line, clean up and end the process. No exception leaves this function."""
    _ignore_all()
    is_copy = _listener not in (0, os.getpid())
    if not is_copy:
        _print_end(number, KEPT)
        for clean in reversed(_cleanups):
            with contextlib.suppress(Exception):
                clean()
        with contextlib.suppress(Exception):
            end_children()
        requeue_job(number)
        for stream in (sys.stdout, sys.stderr):
            # the signal may have interrupted a print
            with contextlib.suppress(Exception):
                stream.flush()
    os._exit(EXIT_CODE)


def _ignore_all() -> None:
    if threading.current_thread() is threading.main_thread():  # others cannot
        for number in _list_signals():
            signal.signal(number, signal.SIG_IGN)


def _print_end(number: signal.Signals | None, kept: str) -> None:
    """Print one line, from the first process of a run only and not from its child processes."""
    rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or "0"
    if rank != "0" or is_child():
        return
    cause = f" by {number.name}" if number else ""
    with contextlib.suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h\n")  # a progress line hides the cursor
    with contextlib.suppress(OSError):
        os.write(2, f"stopped{cause}: {kept}\n".encode(errors="replace"))
