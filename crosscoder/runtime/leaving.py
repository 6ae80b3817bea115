"""Cleanup after a signal: child processes, a closed terminal, a job of SLURM.

This module imports nothing that takes time, since signals.py, which uses it, is imported before
everything else.
"""

import atexit
import contextlib
import os
import signal
import stat
import sys
import threading
import time

CHILD_TIMEOUT = 30.0  # seconds for child processes, e.g. of a sweep, to write their checkpoints


def is_child() -> bool:
    """Return whether multiprocessing has started this process."""
    multiprocessing = sys.modules.get("multiprocessing")
    # the attribute is missing while multiprocessing is being imported
    parent_process = getattr(multiprocessing, "parent_process", None)
    return parent_process is not None and parent_process() is not None


def leave_terminal() -> None:
    """Redirect output of a closed terminal to nowhere, since writing to it would be an error."""
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):  # the descriptor is closed
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not _has_size(descriptor):
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def _has_size(descriptor: int) -> bool:
    """Return whether a descriptor belongs to a terminal that still exists."""
    try:
        os.get_terminal_size(descriptor)
    except OSError:
        return False
    return True


def end_children() -> None:
    """End the processes that multiprocessing has started, after they wrote their checkpoints."""
    multiprocessing = sys.modules.get("multiprocessing")
    children = multiprocessing.active_children() if multiprocessing else []
    for seconds in (1.0, CHILD_TIMEOUT):  # a child that is just starting misses the first signal
        for child in children:
            child.terminate()
        end = time.monotonic() + seconds
        for child in children:
            child.join(max(0.0, end - time.monotonic()))
    for child in children:
        child.kill()
    if children:
        # A pool releases what it shares with its processes at exit, and warns otherwise. It may
        # wait for ever for a process that is gone.
        tidying = threading.Thread(target=atexit._run_exitfuncs, daemon=True)
        tidying.start()
        tidying.join(CHILD_TIMEOUT)


def requeue_job(number: signal.Signals) -> None:
    """Requeue the SLURM job if the signal means that its time is nearly over."""
    if number.name != "SIGUSR1" or os.environ.get("SLURM_PROCID", "0") != "0":
        return
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    os.spawnlp(os.P_WAIT, "scontrol", "scontrol", "requeue", job)  # noqa: S606
