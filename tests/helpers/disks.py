"""A real disk of a few megabytes to fill or to lock. It is gone when the test is over."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class Disk:
    """A disk with `folder` on it, mounted only in this object's shell and reached through it."""

    def __init__(self, where: Path, megabytes: int) -> None:
        self.shell = subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.where, self.folder = where, Path(f"/proc/{self.shell.pid}/root{where}")
        self._do(f"mount -t tmpfs -o size={megabytes}m tmpfs '{where}'")

    def fill(self) -> None:
        """Somebody else's file takes what room there is."""
        with (
            contextlib.suppress(OSError),
            (self.folder / "ballast").open("ab", buffering=0) as file,
        ):
            while file.write(bytes(1 << 16)):
                pass

    def empty(self) -> None:
        """Delete that file."""
        (self.folder / "ballast").unlink(missing_ok=True)

    def lock(self) -> None:
        """Nothing can be written any more."""
        self._do(f"mount -o remount,ro '{self.where}'")

    def unlock(self) -> None:
        self._do(f"mount -o remount,rw '{self.where}'")

    def _do(self, command: str) -> None:
        assert self.shell.stdin
        assert self.shell.stdout
        try:
            print(f"{command} && echo done", file=self.shell.stdin, flush=True)
            said = self.shell.stdout.readline().strip()
        except BrokenPipeError:  # there is no shell
            said = self.shell.stdout.read().strip()
        if said != "done":
            raise OSError(f"{command}: {said}")

    def close(self) -> None:
        self.shell.communicate()


@contextlib.contextmanager
def small_disk(where: Path, megabytes: int = 4) -> Iterator[Disk]:
    """Mount an empty disk on a new folder; skip the test where no disk can be mounted."""
    if not shutil.which("unshare"):
        pytest.skip("without unshare(1) no disk can be mounted for a test")
    where.mkdir()
    try:
        disk = Disk(where, megabytes)
    except OSError as reason:
        pytest.skip(f"no disk can be mounted here: {reason}")
    try:
        yield disk
    finally:
        disk.close()
