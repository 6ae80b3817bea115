"""Find the activations that a crosscoder was trained on and is evaluated on.

Its provenance names a folder for each split. The name is absolute, mostly in the cache, or relative
to the run folder if the store is inside it, so that the run can be moved. The held-out store may
also be packed into the run folder (`heldout/`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crosscoder.data import Store
from crosscoder.errors import UserError
from crosscoder.installation import name_command
from crosscoder.io.run_dir import Run


def find_store(run: Run, named: str) -> Path:
    """Return the folder that a crosscoder's provenance names; it may not exist.

    Raises:
        UserError: The name is relative to the run folder and leads out of it.
    """
    path = Path(named)
    return path if path.is_absolute() else find_run_folder(run).path(named)


def find_run_folder(run: Run) -> Run:
    """Return the run folder, also if the user named the crosscoder's folder in it."""
    folder = run.folder.absolute()
    parent = Run(folder.parent)
    is_inside_run = folder.name == "crosscoder" and parent.config.is_file()
    return parent if is_inside_run else run


def open_heldout(run: Run, provenance: Mapping[str, Any], override: str | None, name: str) -> Store:
    """Open the held-out store of a crosscoder.

    The user's store comes first, then the packed one, then the one that the provenance names.

    Args:
        run: Folder that the crosscoder was loaded from.
        provenance: Provenance of the crosscoder.
        override: Folder of a store that the user names; None for none.
        name: Name of the crosscoder as the user wrote it, for messages.

    Raises:
        UserError: There is no such store.
    """
    if override:
        return Store(Path(override).expanduser())
    packed = find_run_folder(run).heldout
    if packed.exists():
        return Store(packed)
    named = provenance.get("heldout")
    if not named:
        raise UserError(f"{name} names no held-out store; give one with store=FOLDER")
    folder = find_store(run, named)
    if not folder.exists():
        raise UserError(
            f"the held-out store of {name} is not at {folder}: "
            "give one that has its sources with store=FOLDER, or pack it into the run where it is "
            f"({name_command('evaluate')} crosscoder={name} pack=true)"
        )
    return Store(folder)
