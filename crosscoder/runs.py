"""A run folder: config.yaml, crosscoder/, checkpoints/last.ckpt, metrics.json, results/<eval>.json."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from crosscoder.errors import UserError, writing


class Run:
    """Paths of a run, and files in it that are written whole or not at all."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def begin(self, config: str) -> None:
        """Make the folder and keep the run's configuration in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.config, config)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """While open, no other process works on this run; what a killed one started may live on elsewhere."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=0, is_singleton=True)  # a sweep, too, claims its runs
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"another process is at work on {self.folder}") from None
        try:
            yield
        finally:
            lock.release()

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def crosscoder(self) -> Path:
        return self.folder / "crosscoder"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def result(self, name: str) -> Path:
        """Where an eval's result is."""
        return self.results / f"{name}.json"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.json"

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write the flat `metrics.json`."""
        write_json(self.metrics, metrics)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all; what is not a number is null, so that every reader can read it."""
    write_text(path, json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_text(path: Path, content: str) -> None:
    """Write aside, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with writing(path):
            aside.write_text(content, encoding="utf-8")
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
