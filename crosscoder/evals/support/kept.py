"""Find crosscoders that an earlier evaluation trained, without making the data of their training.

`train_auxiliary` names a crosscoder by a hash of its training data, which can take minutes to make.
It also leaves a note, `beside/requests/<request>.json`, which names the folder of the crosscoder
that answered a request. The request is a hash of everything from which that data is made.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from crosscoder.errors import UserError
from crosscoder.evals.context import EvalContext
from crosscoder.io.run_dir import Run, write_json
from crosscoder.io.schema import read_json

FOLDER_NAME = re.compile(r"[\w.-]+-[0-9a-f]{12}")


class RequestNote(TypedDict):
    """Content of a note."""

    folder: str


def is_kept(
    context: EvalContext, name: str, seed: int, origin: object = "", **settings: Any
) -> bool:
    """Return whether `train_auxiliary` would load a crosscoder that was trained before.

    Args:
        context: Context of the eval.
        name: Name of the crosscoder in the run folder.
        seed: Random seed of the training.
        origin: What the data of the training is made from, besides the data of the crosscoder.
        settings: Settings that replace those of the recipe. A value of None changes nothing.
    """
    if context.folder is None:
        return False
    path = _find_note(context, name, seed, origin, settings)
    try:
        folder = read_json(path, RequestNote)["folder"]
    except UserError:  # there is no note, or a damaged one
        return False
    if not FOLDER_NAME.fullmatch(folder):
        return False
    return (Run(context.folder).path("beside", folder) / "crosscoder" / "config.json").is_file()


def note_request(
    context: EvalContext, folder: Path, name: str, seed: int, origin: object, settings: Any
) -> None:
    """Write down which folder answers a request; the arguments are those of `is_kept`."""
    if context.folder is None:
        return
    path = _find_note(context, name, seed, origin, settings)
    if not path.exists():
        write_json(path, {"folder": folder.name})


def _find_note(
    context: EvalContext, name: str, seed: int, origin: object, settings: dict[str, Any]
) -> Path:
    assert context.folder is not None
    assert context.load_recipe is not None
    changes = {key: value for key, value in settings.items() if value is not None}
    recipe = context.load_recipe().replace(seed=seed, **changes)
    tokens = [store.tokens_sha256 for store in context.open_stores()]
    request = repr((name, recipe.key(), repr(origin), tokens, context.crosscoder_sha256))
    key = hashlib.sha256(request.encode()).hexdigest()[:16]
    return Run(context.folder).path("beside", "requests", f"{name}-{key}.json")
