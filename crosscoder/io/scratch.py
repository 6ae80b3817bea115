"""Temporary folders that are deleted in any case, and folders that appear whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from crosscoder.errors import UserError, translate_write_errors
from crosscoder.io.files import make_folders
from crosscoder.runtime import signals


@contextmanager
def scratch_folder(parent: Path | None = None, prefix: str = "crosscoder-") -> Iterator[Path]:
    """Yield a new folder, and delete it at the end of the block.

    It is also deleted if a signal ends the program inside the block.

    Args:
        parent: Folder to make it in. None: the system's folder for temporary files.
        prefix: Beginning of its name.
    """
    made = tempfile.TemporaryDirectory(dir=parent, prefix=prefix)
    with made as folder, signals.cleanup(partial(shutil.rmtree, folder, ignore_errors=True)):
        yield Path(folder)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new empty folder, and rename it to `folder` at the end of the block.

    If the block fails, `folder` is not made. An empty `folder` may exist already.

    Raises:
        OSError: The disk is full or cannot be written; the error names `folder`.
    """
    make_folders(folder.parent)
    with (
        translate_write_errors(folder),
        scratch_folder(folder.parent, f".{folder.name}-") as scratch,
    ):
        whole = scratch / "whole"  # the scratch folder itself has narrower permissions
        whole.mkdir()
        yield whole
        whole.replace(folder)


def require_new_folder(folder: Path) -> None:
    """Refuse a folder that holds something, or a file of that name.

    Raises:
        UserError: It exists already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already and is not overwritten: choose a new folder")
