"""Places in the hub's cache, which tell a repository and a commit."""

from pathlib import Path


def parse_cache_path(folder: Path) -> tuple[str | None, str | None]:
    """Return (repository, commit) of `models--OWNER--NAME/snapshots/COMMIT/…`, the hub's cache.

    Both are None for any other folder.
    """
    steps = folder.absolute().parts
    for i, step in enumerate(steps[:-2]):
        if step.startswith("models--") and steps[i + 1] == "snapshots":
            return "/".join(step.split("--")[1:]), steps[i + 2]
    return None, None
