"""From what a person writes to a folder on this machine: a path, `hf://owner/name[@revision]/folder`, or a short name."""

import re
from collections.abc import Sequence
from pathlib import Path

from crosscoder.errors import UserError
from crosscoder.formats.catalogue import resolve
from crosscoder.formats.folder import Folder
from crosscoder.hub import snapshot

HUB = re.compile(r"([\w.-]+/[\w.-]+)(?:/([\w.,=+{}-]+(?:/[\w.,=+{}-]+)*))?")
REVISION = re.compile(r"(.+?)@([\w.-]+)(/.*)?")


def locate(spec: str, files: Sequence[str]) -> Folder:
    """The folder that `spec` means.

    Args:
        spec: see the module's docstring; `owner/name/folder` without `hf://` is a hub id where no such path exists.
        files: patterns of the files to download, where it is on the hub.

    Raises:
        UserError: there is no such place, or the name leads out of its repository.
    """
    if not spec.startswith("hf://"):
        try:
            local = Path(spec).expanduser()
            if local.is_dir():
                return Folder(local, str(local.absolute()), *_cached(local))
            there = local.exists()
        except (OSError, RuntimeError) as error:  # a name that is too long, or of a person who is not there
            raise UserError(f"no dictionary at {spec[:200]}: {getattr(error, 'strerror', None) or error}") from error
        if there or spec.startswith((".", "/", "~")):
            raise UserError(f"no dictionary at {spec}: it is no folder")
    repo, revision, folder = parse(spec)
    prefix = f"{folder}/" if folder else ""
    root = snapshot(repo, [f"{prefix}{name}" for name in files], revision)
    path = root / folder if folder else root
    if not path.is_dir() or not any(path.iterdir()):
        raise UserError(f"'{repo}' has no files of a known layout in '{folder or '.'}'")
    commit = root.name if root.parent.name == "snapshots" else revision
    return Folder(path, f"{repo}/{folder}".rstrip("/"), repo, commit)


def parse(spec: str) -> tuple[str, str | None, str]:
    """(repository, revision, folder) of `hf://owner/name[@revision][/folder]` or of a short name."""
    name, revision = spec.removeprefix("hf://").strip("/"), None
    if found := REVISION.fullmatch(name):
        name, revision = found[1] + (found[3] or ""), found[2]
    steps = {".", ".."} & {*name.split("/"), revision}
    found = None if steps or not name.isprintable() else HUB.fullmatch(resolve(name))
    if not found:
        raise UserError(
            f"no dictionary at {spec[:200]!r}: no such folder, no known short name, and not hf://owner/name[@revision]/folder"
        )
    return found[1], revision, found[2] or ""


def _cached(folder: Path) -> tuple[str | None, str | None]:
    """(repository, commit) of a folder inside the hub's own cache, `models--OWNER--NAME/snapshots/COMMIT/…`."""
    parts = folder.absolute().parts
    for i, part in enumerate(parts[:-2]):
        if part.startswith("models--") and parts[i + 1] == "snapshots":
            return "/".join(part.split("--")[1:]), parts[i + 2]
    return None, None
