"""The project's own layout: `config.json` and `model.safetensors`, in a run's `crosscoder/` too."""

from typing import Any

from crosscoder.formats.folder import Folder
from crosscoder.io.checksum import compute_sha256

FILES = ("config.json", "model.safetensors")
REQUIRED_KEYS = {"format", "sources", "activation"}


def matches(folder: Folder) -> bool:
    """Tell whether a folder holds a crosscoder, by the keys of its configuration."""
    if not all(map(folder.has_file, FILES)):
        return False
    return set(folder.read_json("config.json")) >= REQUIRED_KEYS


def build_provenance(folder: Folder) -> dict[str, Any]:
    """Return the origin of the files; the rest of the provenance is in their configuration."""
    return {
        "layout": "crosscoder",
        "origin": folder.origin,
        "repo": folder.repo,
        "revision": folder.revision,
        "sha256": {name: compute_sha256(folder.path / name) for name in FILES},
    }
