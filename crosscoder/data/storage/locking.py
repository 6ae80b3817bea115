"""Locks that tell processes which of them works on a shard."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from crosscoder.io.links import require_own_file


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Try to hold a lock file while the block is open; delete the file afterwards.

    Yields:
        False if another process holds the lock.
    """
    require_own_file(path)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        # a process that creates the file anew finds the shard recorded in meta.json
        path.unlink(missing_ok=True)
        lock.release()
