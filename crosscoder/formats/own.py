"""The layout of this project: `config.json` and `model.safetensors`, in a folder of theirs or in a run folder's `crosscoder/`."""

from typing import Any

from crosscoder.formats.folder import Folder
from crosscoder.lm.pinned import sha256

FILES = ("config.json", "model.safetensors")


def matches(folder: Folder) -> bool:
    """Whether it is one, by what its configuration names."""
    return all(map(folder.has, FILES)) and {"format", "sources", "activation"} <= set(folder.json("config.json"))


def provenance(folder: Folder) -> dict[str, Any]:
    """Where it was loaded from; what it is made of stands in its own configuration."""
    digests = {name: sha256(folder.path / name) for name in FILES}
    where = {"origin": folder.origin, "repo": folder.repo, "revision": folder.revision}
    return {"layout": "crosscoder", **where, "sha256": digests}
