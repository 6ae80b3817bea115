"""Checks that a path stays inside its folder.

A folder from somebody else may hold links to the user's own files. What is read there would be
shown as the folder's content, and what is written there would overwrite those files.
"""

import errno
import os
import re
from collections.abc import Collection
from pathlib import Path

from crosscoder.errors import UserError, first_line
from crosscoder.io.files import require_regular

REPOSITORY = re.compile(r"(models|datasets|spaces)--.+")  # a repository's folder in the hub's cache


def require_inside(folder: str | Path, path: str | Path) -> Path:
    """Refuse a path that leads out of its folder, through `..` or through a link.

    In the hub's cache every file of a snapshot is a link into the repository's `blobs/`. Such a
    link is allowed.

    Returns:
        The path with all links resolved.

    Raises:
        UserError: The path leads out of the folder.
    """
    inside = resolve(folder)
    target = resolve(path)
    allowed = _find_repository(inside) or inside
    if not target.is_relative_to(allowed):
        raise UserError(
            f"{path} leads out of its folder, to {target}: copy what it names into {folder}"
        )
    return target


def require_own_file(path: str | Path) -> None:
    """Refuse a link or a special file where a file is written in place, as lock files are.

    Raises:
        UserError: The path is a link, a folder, a pipe, a device or a socket.
    """
    if Path(path).is_symlink():
        raise UserError(f"cannot write {path}: it is a link, not a file; delete it")
    if Path(path).exists():
        require_regular(path)


def require_all_inside(folder: str | Path, unseen: Collection[str] = ()) -> None:
    """Refuse a folder with a link at any depth that leads out of it.

    Libraries write into such a folder without any check.

    Args:
        folder: Folder to search.
        unseen: Names of subfolders that are not searched. They may not be such links themselves.

    Raises:
        UserError: A link leads out of the folder.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                require_inside(folder, path)
        folders[:] = [name for name in folders if name not in unseen]


def resolve(path: str | Path) -> Path:
    """Resolve all links of a path.

    Raises:
        UserError: Links lead in a circle, or the text is not a path.
    """
    try:
        return Path(path).resolve()
    except RuntimeError as error:  # pathlib's error for a circle of links
        raise UserError(f"cannot read {path}: {os.strerror(errno.ELOOP)}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {str(path)!r}: {first_line(error)}") from error


def _find_repository(folder: Path) -> Path | None:
    """Return the repository of the hub's cache if the folder lies in one of its snapshots."""
    for snapshot in (folder, *folder.parents):
        repository = snapshot.parent.parent
        if snapshot.parent.name == "snapshots" and REPOSITORY.fullmatch(repository.name):
            return repository
    return None
