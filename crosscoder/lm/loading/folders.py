"""Folders of language models: where a name leads, and what identifies a folder's content."""

import hashlib
from functools import lru_cache
from pathlib import Path

from crosscoder.errors import UserError
from crosscoder.installation import PROJECT
from crosscoder.io.checksum import compute_sha256
from crosscoder.io.files import require_regular
from crosscoder.io.hub import download_snapshot
from crosscoder.io.paths import looks_like_path
from crosscoder.lm.loading import pinned

# never pickles, never code
WEIGHT_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model"]


def resolve_folder(name: str) -> Path:
    """Return the local folder of a model, and download or convert the model if need be.

    Args:
        name: `pinned:NAME`, a local path (from the working directory or the project's root), or a
            hub id.

    Raises:
        UserError: There is no such model, or the hub does not give it.
    """
    if name.startswith("pinned:"):
        return pinned.get_folder(name.removeprefix("pinned:"))
    if (folder := find_local_folder(name)) is not None:
        return folder
    if looks_like_path(name) or "/" not in name:
        raise UserError(f"no model at '{name}': no such folder, and not a hub id (owner/name)")
    return download_snapshot(name, WEIGHT_FILES)


def find_local_folder(name: str) -> Path | None:
    """Find a folder from the working directory or the project's root; None if there is none."""
    for path in (Path(name).expanduser(), PROJECT / name):
        if path.is_dir():
            return path
    return None


def hash_folder(folder: Path) -> str:
    """Return a digest of a model folder's weights and config; for a hub snapshot its commit."""
    if folder.parent.name == "snapshots":
        return folder.name
    return _hash_files(folder, stamp_folder(folder))


@lru_cache
def _hash_files(folder: Path, stamp: tuple) -> str:
    """Hash weights and config; the stamp makes the cache forget a folder that was rewritten."""
    # The tokenizer's files are left out: tokens have a hash of their own, and the settings of a
    # tokenizer can contain a path.
    files = list(folder.glob("*.safetensors"))
    for name in ("config.json", "adapter_config.json"):
        if (folder / name).exists():
            files.append(folder / name)
    digest = hashlib.sha256()
    for file in sorted(files):
        require_regular(file)
        digest.update(f"{file.name}:{compute_sha256(file)};".encode())
    return digest.hexdigest()


def stamp_folder(folder: Path) -> tuple:
    """Return name, size, times and inode of every file, which change when a file is rewritten."""
    stamps = []
    for file in sorted(folder.iterdir()):
        if file.is_file():
            stat = file.stat()
            times = (stat.st_mtime_ns, stat.st_ctime_ns)
            stamps.append((file.name, stat.st_size, *times, stat.st_ino))
    return tuple(stamps)
