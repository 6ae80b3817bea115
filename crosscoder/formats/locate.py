"""Find the folder that a user's text means: a path, `hf://owner/name[@revision]/folder`, or a name.

Where a folder holds several dictionaries, the last step may be the file with the weights of one.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from crosscoder.errors import UserError, plain
from crosscoder.formats.catalogue import is_short_name, resolve_name
from crosscoder.formats.folder import WEIGHTS, Folder
from crosscoder.io.hub import download_snapshot
from crosscoder.io.hub_cache import parse_cache_path
from crosscoder.io.paths import looks_like_path

HUB = re.compile(r"([\w.-]+/[\w.-]+)(?:/([\w.,=+{}-]+(?:/[\w.,=+{}-]+)*))?")
REVISION = re.compile(r"(.+?)@([\w.-]+)(/.*)?")
MAX_SPEC = 200  # characters of the user's text in a message


def find_folder(spec: str, files: Sequence[str]) -> Folder:
    """Find the folder that `spec` means, and download it if it is on the hub.

    Args:
        spec: Local path, `hf://owner/name[@revision]/folder`, or a short name. `owner/name` without
            `hf://` is a hub id where no such path exists.
        files: Patterns of the files to download from the hub.

    Raises:
        UserError: There is no such place, or the name leads out of its repository.
    """
    if not spec.startswith("hf://"):
        local = _locate_local(spec)
        if local is not None:
            return local
    return _download(spec, files)


def parse_spec(spec: str) -> tuple[str, str | None, str]:
    """Split `hf://owner/name[@revision][/folder]` or a short name: (repository, revision, folder).

    Raises:
        UserError: It is neither.
    """
    name = spec.removeprefix("hf://").strip("/")
    revision = None
    with_revision = REVISION.fullmatch(name)
    if with_revision:
        name = with_revision[1] + (with_revision[3] or "")
        revision = with_revision[2]
    leaves_repository = {".", ".."} & {*name.split("/"), revision}
    found = None
    if name.isprintable() and not leaves_repository:
        found = HUB.fullmatch(resolve_name(name))
    if not found:
        raise UserError(
            f"no dictionary at {spec[:MAX_SPEC]!r}: "
            "no such folder, no known short name, and not hf://owner/name[@revision]/folder"
        )
    return found[1], revision, found[2] or ""


def _locate_local(spec: str) -> Folder | None:
    """Return the local folder of a path, or around a file of weights; None if no path exists."""
    try:
        local = Path(spec).expanduser()
        if local.is_dir():
            return Folder(local, str(local.absolute()), *parse_cache_path(local))
        if local.is_file() and local.name.endswith(WEIGHTS):
            parent = local.parent
            cached = parse_cache_path(parent)
            return Folder(parent, str(parent.absolute()), *cached, chosen=local.name)
        exists = local.exists()
    except (OSError, RuntimeError) as error:  # the name is too long, or ~user does not exist
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"no dictionary at {spec[:MAX_SPEC]}: {reason}") from error
    if exists:
        raise UserError(f"no dictionary at {spec}: it is neither a folder nor a file of weights")
    if looks_like_path(spec) and not is_short_name(spec):
        raise UserError(
            f"no dictionary at {plain(spec, MAX_SPEC)}: there is no such folder; "
            "a folder on the hub is written hf://owner/name/folder"
        )
    return None


def _download(spec: str, files: Sequence[str]) -> Folder:
    repo, revision, path = parse_spec(spec)
    folder, chosen = _split_weights_file(path)
    if chosen:
        settings = [name for name in files if not name.endswith(WEIGHTS)]
        files = [chosen, f"{chosen.rpartition('.')[0]}_cfg.json", *settings]
    prefix = f"{folder}/" if folder else ""
    root = download_snapshot(repo, [f"{prefix}{name}" for name in files], revision)
    local = root / folder if folder else root
    if not local.is_dir() or not any(local.iterdir()):
        example = f"hf://{repo}/{prefix}layer0.sae.pt"
        raise UserError(
            f"'{repo}' has no files of a known layout in '{folder or '.'}'; "
            f"if each of its files is a dictionary, name one: {example}"
        )
    commit = root.name if root.parent.name == "snapshots" else revision
    return Folder(local, f"{repo}/{folder}".rstrip("/"), repo, commit, chosen)


def _split_weights_file(path: str) -> tuple[str, str | None]:
    """Split (folder, file) of a path whose last step is a file of weights."""
    folder, _, name = path.rpartition("/")
    return (folder, name) if name.endswith(WEIGHTS) else (path, None)
