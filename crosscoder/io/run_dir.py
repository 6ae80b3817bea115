"""Paths of a run folder, and the files in it that are written whole or not at all.

config.yaml   identity.json   crosscoder/   checkpoints/last.ckpt   curves.json
metrics.json  results/<eval>.json           report.html    experiments/<name>.json
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from crosscoder.errors import UserError
from crosscoder.io.files import make_folders, write_text
from crosscoder.io.links import require_all_inside, require_inside, require_own_file
from crosscoder.io.schema import Number, Whole, read_json

__all__ = ["Run", "make_folder", "write_json", "write_text"]

Metrics = dict[str, bool | Whole | Number | str | None]


class Run:
    """A run folder.

    It may come from somebody else. All its paths are made by `path`, which refuses a path that
    leads out of the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, *names: str) -> Path:
        """Return the path of a file or folder inside the run folder.

        Raises:
            UserError: The path leads out of the folder, through a link or `..`.
        """
        path = self.folder.joinpath(*names)
        require_inside(self.folder, path)
        return path

    def write_config(self, config: str) -> None:
        """Make the folder and write the run's configuration into it."""
        make_folders(self.folder)
        write_text(self.config, config)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from working on this run while the context is open.

        Raises:
            UserError: Another process works on this run, or a link leads out of its folder.
        """
        make_folder("run", self.folder)
        # Loggers write here without any check. W&B itself links to its logs elsewhere, and it makes
        # a new folder for every run.
        require_all_inside(self.folder, unseen=["wandb"])
        path = self.path(".lock")
        require_own_file(path)
        # a singleton, since a sweep locks its runs around train.py, which locks them again
        lock = FileLock(path, timeout=0, is_singleton=True)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(
                f"another process works on {self.folder}: wait until it ends, or stop it"
            ) from None
        try:
            yield
        finally:
            lock.release()

    @property
    def config(self) -> Path:
        return self.path("config.yaml")

    @property
    def identity(self) -> Path:
        return self.path("identity.json")

    @property
    def crosscoder(self) -> Path:
        return self.path("crosscoder")

    @property
    def checkpoints(self) -> Path:
        return self.path("checkpoints")

    @property
    def curves(self) -> Path:
        return self.path("curves.json")

    @property
    def heldout(self) -> Path:
        """Return the folder of a held-out store that is packed into the run."""
        return self.path("heldout")

    @property
    def report(self) -> Path:
        return self.path("report.html")

    @property
    def results(self) -> Path:
        return self.path("results")

    @property
    def metrics(self) -> Path:
        return self.path("metrics.json")

    def has_results(self) -> bool:
        """Return whether the run has any result of an eval."""
        return bool(self.list_results())

    def list_results(self) -> list[Path]:
        """List the files of the evals' results in the order of their names."""
        if not self.results.is_dir():
            return []
        return [self.path("results", path.name) for path in sorted(self.results.glob("*.json"))]

    def result_path(self, name: str) -> Path:
        """Return the path of an eval's result."""
        return self.path("results", f"{name}.json")

    def table_path(self, name: str) -> Path:
        """Return the path of a table that an eval writes next to its result."""
        return self.path("results", f"{name}.parquet")

    def is_finished(self) -> bool:
        """Return whether a run was started here and has written its metrics."""
        return self.config.exists() and self.metrics.exists()

    def read_metrics(self) -> dict[str, Any]:
        """Read the flat `metrics.json`: numbers and texts by name.

        Raises:
            UserError: The file is missing or holds something else.
        """
        return read_json(self.metrics, Metrics)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write the flat `metrics.json`."""
        write_json(self.metrics, metrics)


def make_folder(setting: str, folder: str | Path) -> Path:
    """Make the folder that a setting names, if it does not exist.

    Raises:
        UserError: The folder cannot be made: the disk is missing, a file has that name, or the user
            may not write there.
    """
    try:
        path = Path(folder).expanduser()
        path.mkdir(parents=True, exist_ok=True)
    except RuntimeError as error:  # pathlib knows no home directory for ~
        raise UserError(
            f"{setting}={folder}: no home directory is known for ~; set HOME, or {setting}"
        ) from error
    except OSError as error:
        raise UserError(f"cannot write {folder} ({setting}): {error.strerror or error}") from error
    except ValueError as error:  # a null byte
        raise UserError(f"{setting} is not a valid folder name: {error}") from error
    try:
        str(path.absolute()).encode("utf-8")
    except UnicodeEncodeError as error:  # files that contain this name could not be read again
        raise UserError(
            f"{setting}: the folder name {str(path)!r} is not Unicode text; choose another folder"
        ) from error
    return path


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all. NaN and infinity are written as null."""
    text = json.dumps(replace_nonfinite(content), indent=1, allow_nan=False)
    write_text(path, f"{text}\n")


def replace_nonfinite(content: Any) -> Any:
    """Return a copy with null in the place of NaN and infinity, which JSON cannot hold."""
    if isinstance(content, dict):
        return {key: replace_nonfinite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [replace_nonfinite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
