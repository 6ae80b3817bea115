"""Find the checkpoint to resume from, and check that it belongs to this run.

Nothing in a checkpoint is unpickled.
"""

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosscoder.errors import UserError, first_line
from crosscoder.io.files import require_regular
from crosscoder.io.identity import Identity, describe_differences
from crosscoder.io.links import require_inside

log = logging.getLogger(__name__)

IDENTITY_KEY = "crosscoder_run"  # entry of a checkpoint with the identity of its run
# entries from which Lightning restores a run
REQUIRED_ENTRIES = (
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "loops",
    "callbacks",
    "global_step",
    "ActsModule",
)


def find_checkpoint(folder: Path) -> Path | None:
    """Return the latest checkpoint of a folder that is whole; None if there is no checkpoint.

    It may belong to another run: see `require_same_run`.

    Raises:
        UserError: No checkpoint in the folder can be read, or the latest whole one is not a
            checkpoint of a crosscoder's training.
    """
    candidates = [folder / "last.ckpt", folder / "previous.ckpt"]
    existing = [path for path in candidates if path.exists()]
    for path in existing:
        require_inside(folder, path)
        require_regular(path)
        try:
            _require_undamaged(path)
            read_checkpoint(path)
            return path
        except UserError:
            raise
        except Exception as error:  # anything that a damaged file can cause
            log.warning("%s cannot be read (%s)", path, first_line(error))
    if existing:
        names = ", ".join(path.name for path in existing)
        raise UserError(f"no checkpoint in {folder} can be read: {names}")
    return None


def _require_undamaged(path: Path) -> None:
    """Raise ValueError, or an error of zipfile, if the file is damaged."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} is damaged")


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read an undamaged checkpoint without the values of its tensors.

    Raises:
        UserError: The file is not a checkpoint, but another program's file.
    """
    require_regular(path)
    try:
        content = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # anything that another program's file can cause
        raise UserError(
            f"{path} is no checkpoint of a crosscoder's training: {first_line(error)}"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path} is no checkpoint of a crosscoder's training, but a {type(content).__name__}"
        )
    return content


def require_same_run(path: Path, identity: Identity | None, weights: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint of another run, or a file that is not a checkpoint.

    Args:
        path: An undamaged file.
        identity: Identity of the run to resume. None if it has none.
        weights: Weights of the module by name, before training.

    Raises:
        UserError: The checkpoint is refused; the message names the difference.
    """
    content = read_checkpoint(path)
    if identity is not None:
        _require_identity(path, content, identity)
    missing = [name for name in REQUIRED_ENTRIES if name not in content]
    if missing:
        raise UserError(
            f"{path} is no checkpoint that training can be resumed from: "
            f"it lacks {', '.join(missing)}"
        )
    _require_shapes(path, content["state_dict"], weights)


def _require_identity(path: Path, content: Mapping[str, Any], identity: Identity) -> None:
    advice = "delete it to start again, or restore the run's own checkpoint"
    try:
        found = Identity.from_spec(content.get(IDENTITY_KEY))
    except ValueError:
        raise UserError(
            f"{path} does not say which run it is of: another program or an old version wrote it; "
            f"{advice}"
        ) from None
    differences = describe_differences(found.settings, identity.settings)
    if differences:
        raise UserError(f"{path} is of another run ({differences}): {advice}")
    differences = describe_differences(found.inputs, identity.inputs)
    if differences:
        raise UserError(f"{path} was trained on other inputs ({differences}): {advice}")


def _require_shapes(path: Path, found: Any, weights: Mapping[str, Tensor]) -> None:
    if not isinstance(found, Mapping):
        raise UserError(f"{path} holds no weights by name")
    shapes = {name: _read_shape(weight) for name, weight in found.items()}
    for name, weight in weights.items():
        expected = _read_shape(weight)
        if shapes.get(name) != expected:
            raise UserError(
                f"{path} has {name} of shape {shapes.get(name)}, "
                f"and this run has it of shape {expected}"
            )
    unexpected = sorted(set(shapes) - set(weights))
    if unexpected:
        raise UserError(f"{path} has {unexpected[0]}, which this run does not have")


def _read_shape(weight: Any) -> list[int] | None:
    return list(weight.shape) if isinstance(weight, Tensor) else None
