"""Read everything that a run folder holds for a report, each file once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from crosscoder.analysis.parquet import load_contexts
from crosscoder.analysis.table import LatentTable
from crosscoder.core.saved import Saved
from crosscoder.errors import UserError
from crosscoder.evals import Result
from crosscoder.io.files import read_bytes
from crosscoder.io.run_dir import Run
from crosscoder.io.schema import Number, Whole, read_json

FIRST_EVALS = ("reconstruction", "splice")  # the others follow in alphabetical order
LoggedRow = dict[str, Whole | Number | None]  # row of curves.json: what was logged at a step


@dataclass(frozen=True)
class RunFiles:
    """Files of a run folder; a file that does not exist is None or empty."""

    run: Run

    @cached_property
    def latents(self) -> LatentTable | None:
        """Load the table of latents."""
        path = self.run.table_path("latents")
        return LatentTable.load(path) if path.exists() else None

    @cached_property
    def contexts(self) -> tuple[pd.DataFrame, dict[str, Any]] | None:
        """Load the contexts of the latents, with their meta."""
        path = self.run.table_path("contexts")
        return load_contexts(path) if path.exists() else None

    @cached_property
    def results(self) -> dict[str, Result]:
        """Load the results of all evals by name."""
        paths = {path.stem: path for path in self.run.list_results()}
        names = sorted(paths, key=lambda name: name not in FIRST_EVALS)
        return {name: Result.load(paths[name]) for name in names}

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Load metrics.json."""
        return self.run.read_metrics() if self.run.metrics.exists() else {}

    @cached_property
    def config(self) -> str:
        """Read config.yaml as text; it is only shown, so bytes that are not UTF-8 become �."""
        path = self.run.config
        return read_bytes(path).decode("utf-8", errors="replace") if path.exists() else ""

    @cached_property
    def curves(self) -> list[dict[str, Any]]:
        """Load what was logged during training.

        Raises:
            UserError: A row has no step.
        """
        path = self.run.curves
        rows = read_json(path, list[LoggedRow]) if path.exists() else []
        if any(not isinstance(row.get("step"), int) for row in rows):
            raise UserError(f"{path}: a row has no step; every row must have one")
        return rows

    @cached_property
    def lms(self) -> dict[str, str]:
        """Describe each language model, from the crosscoder's config.json."""
        path = self.run.path("crosscoder", "config.json")
        provenance = read_json(path, Saved)["provenance"] if path.exists() else {}
        lms = (provenance.get("pair") or {}).get("lms", {})
        descriptions = {}
        for name, lm in lms.items():
            descriptions[name] = " + ".join(str(value) for value in lm.values() if value)
        return descriptions

    def list_metas(self) -> dict[str, Mapping[str, Any]]:
        """Return the meta of every file that may belong to another crosscoder."""
        metas: dict[str, Mapping[str, Any]] = {}
        for name, result in self.results.items():
            metas[f"{name}.json"] = result.meta
        if self.latents:
            metas["latents.parquet"] = self.latents.meta
        if self.contexts:
            metas["contexts.parquet"] = self.contexts[1]
        if self.metrics:
            metas["metrics.json"] = self.metrics
        return metas
