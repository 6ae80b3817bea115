"""This project's own: `config.json` and `model.safetensors`, in a folder of theirs or in a run folder's `crosscoder/`."""

from crosscoder.formats.folder import Folder

FILES = ("config.json", "model.safetensors")


def matches(folder: Folder) -> bool:
    """Whether it is one, by what its configuration names."""
    return all(map(folder.has, FILES)) and {"format", "sources", "activation"} <= set(folder.json("config.json"))
