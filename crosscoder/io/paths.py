"""Tell a path from an id on the hub, so that a mistyped path is never asked for on the hub."""

import os

OUTPUTS = "outputs"  # folder of the runs


def looks_like_path(name: str) -> bool:
    """Return whether a name means a folder on this machine, whether it exists or not.

    The other names are ids on the hub, `owner/name`.
    """
    first, _, rest = name.partition("/")
    if name.startswith((".", "/", "~")) or first == OUTPUTS:
        return True
    has_several_slashes = "/" in rest.rstrip("/")
    # os.path.isdir is False for names that cannot exist; pathlib raises for some of them
    is_in_folder = bool(rest) and os.path.isdir(first)  # noqa: PTH112
    return has_several_slashes or is_in_folder
