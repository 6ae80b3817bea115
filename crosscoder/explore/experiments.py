"""Experiments: a request with its answers, saved as RUN/experiments/NAME.json."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crosscoder.errors import UserError
from crosscoder.explore.generate import Request
from crosscoder.io.run_dir import Run, make_folder, write_json
from crosscoder.io.schema import read_json
from crosscoder.report.current import find_crosscoder_sha256, is_other

FOLDER = "experiments"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Experiment:
    """A request and what came of it.

    Args:
        request: Prompt, edits and settings.
        answers: Text by column.
        created: Time in ISO format.
        crosscoder_sha256: Hash of the crosscoder; None if it is unknown.
    """

    request: Request
    answers: dict[str, str] = field(default_factory=dict)
    created: str = ""
    crosscoder_sha256: str | None = None


def save_experiment(run: Run, name: str, request: Request, answers: dict[str, str]) -> Experiment:
    """Write an experiment, whole or not at all; one of the same name is replaced.

    Raises:
        UserError: The name is not allowed.
    """
    path = run.path(FOLDER, f"{require_name(name)}.json")
    make_folder("experiments", path.parent)
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    experiment = Experiment(request, answers, now, find_crosscoder_sha256(run))
    write_json(path, to_json(experiment))
    return experiment


def load_experiment(run: Run, name: str) -> Experiment:
    """Read an experiment.

    Raises:
        UserError: There is none of that name, its file is damaged, or it is about another
            crosscoder than the one in the run.
    """
    path = run.path(FOLDER, f"{require_name(name)}.json")
    if not path.is_file():
        raise UserError(f"no experiment '{name}' in {run.folder}")
    experiment = read_json(path, Experiment)
    meta = {"crosscoder_sha256": experiment.crosscoder_sha256}
    if is_other(meta, find_crosscoder_sha256(run)):
        raise UserError(f"experiment '{name}' is about another crosscoder than the one in the run")
    return experiment


def list_experiments(run: Run) -> list[str]:
    """List the names of the saved experiments, in alphabetical order."""
    folder = run.path(FOLDER)
    names = [path.stem for path in folder.glob("*.json")] if folder.is_dir() else []
    return sorted(name for name in names if NAME.fullmatch(name))


def require_name(name: str) -> str:
    """Return the name of an experiment.

    Raises:
        UserError: It is no name of a file.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            "the name of an experiment has lower-case letters, digits, - and _, "
            f"at most 64 of them, not {name!r:.80}"
        )
    return name


def to_json(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment as plain JSON."""
    request = experiment.request
    edits = [vars(edit) for edit in request.edits.latents]
    return {
        "request": {
            "prompt": vars(request.prompt),
            "edits": {"latents": edits, "positions": request.edits.positions},
            "sampling": vars(request.sampling),
        },
        "answers": experiment.answers,
        "created": experiment.created,
        "crosscoder_sha256": experiment.crosscoder_sha256,
    }
