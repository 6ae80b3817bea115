"""Find the files that paths name: files, folders, and patterns such as `data/*.jsonl`."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from crosscoder.data.corpora.opening import get_kind
from crosscoder.errors import UserError

MAX_KINDS = 3  # kinds of files that a message lists


def list_paths(paths: str | Path | Sequence[str | Path]) -> list[str]:
    """Return paths as a list; a single path needs no brackets.

    Raises:
        UserError: The values are not paths.
    """
    listed = [paths] if isinstance(paths, str | Path) else paths
    is_list = isinstance(listed, Sequence) and len(listed) > 0
    if not is_list or not all(isinstance(path, str | Path) and str(path) for path in listed):
        raise UserError(
            "paths is a file, a folder or a pattern, or a list of them, "
            f"e.g. [notes.txt,chats.jsonl], not {paths!r}"
        )
    return [str(path) for path in listed]


def require_kinds(paths: Iterable[str]) -> None:
    """Refuse files of a kind that cannot be read, by their names alone."""
    for path in paths:
        if not Path(path).expanduser().is_dir() and not glob.has_magic(path):
            get_kind(path)


def find_files(paths: Iterable[str]) -> list[Path]:
    """Return the files in the given order; those of a folder or a pattern are sorted by name.

    Raises:
        UserError: A path has no file, or a folder holds files of several kinds.
    """
    found = []
    for path in paths:
        found += _find(Path(path).expanduser())
    return found


def _find(path: Path) -> list[Path]:
    if path.is_dir():
        return _find_in_folder(path)
    if path.exists():
        return [path]
    if not glob.has_magic(str(path)):
        raise UserError(f"no file at {path}")
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (pathlib takes no absolute pattern)
    files = [Path(match) for match in matches if Path(match).is_file()]
    if not files:
        raise UserError(f"no file matches {path}")
    for file in files:
        get_kind(file)
    return files


def _find_in_folder(folder: Path) -> list[Path]:
    """Return the files of a folder and its subfolders, all of one kind; skip hidden ones."""
    files = []
    for file in sorted(folder.rglob("*")):
        is_hidden = any(name.startswith(".") for name in file.relative_to(folder).parts)
        if file.is_file() and not is_hidden:
            files.append(file)
    if not files:
        raise UserError(f"the folder {folder} has no files")
    _require_one_kind(folder, files)
    get_kind(files[0])
    return files


def _require_one_kind(folder: Path, files: list[Path]) -> None:
    by_kind: dict[str, list[Path]] = {}
    for file in files:
        by_kind.setdefault(_name_kind(file), []).append(file)
    if len(by_kind) == 1:
        return
    counts = []
    for kind, members in list(by_kind.items())[:MAX_KINDS]:
        counts.append(f"{len(members)} {kind} (such as {members[0].name})")
    raise UserError(
        f"the folder {folder} has files of several kinds: {', '.join(counts)}; "
        f"give a pattern instead, e.g. '{folder}/**/*{files[-1].suffix}'"
    )


def _name_kind(file: Path) -> str:
    try:
        return get_kind(file)
    except UserError:
        return file.suffix or file.name
