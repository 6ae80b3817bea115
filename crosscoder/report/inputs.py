"""What there is to report on: everything in a run folder, each part read once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from crosscoder.diff.table import LatentTable, load_parquet
from crosscoder.errors import UserError
from crosscoder.evals import Result
from crosscoder.report.explain import Score, Verdict, scores, verdicts
from crosscoder.report.plots import Plot, plots
from crosscoder.report.section import Section
from crosscoder.report.sections import sections
from crosscoder.report.shapes import check_shape
from crosscoder.report.tables import figure
from crosscoder.runs import Run

FIRST = ("reconstruction", "splice")  # of the evals; the others follow
# what a reader asks first: name of an eval, its scalar (all sources of it), how it is written, what it says
KEY_FIGURES = (
    ("reconstruction", "fve/difference", "score", "of the difference's variance explained"),
    ("reconstruction", "fve", "score", "of {source}'s variance explained"),
    ("splice", "loss_recovered", "score", "of {source}'s loss recovered when spliced in"),
    ("reconstruction", "l0", "number", "latents active per token"),
    ("reconstruction", "dead_fraction", "share", "of latents dead on held-out tokens"),
)


def written(value: Any, style: str) -> str:
    """A number as a `score`, a `share` (per cent), or as a plain figure."""
    if not isinstance(value, int | float) or value != value or style == "number":
        return f"{value:.1f}" if isinstance(value, float) and 1 <= abs(value) < 100 else figure(value)
    if style == "share":
        return f"{100 * value:.0f} %" if value >= 0.1 or value == 0 else f"{100 * value:#.2g} %"
    return f"{value:.3f}"


@dataclass(frozen=True)
class Inputs:
    """A part that is missing is None or empty."""

    run: Run

    @cached_property
    def table(self) -> LatentTable | None:
        path = self.run.results / "latents.parquet"
        return LatentTable.load(path) if path.exists() else None

    @cached_property
    def contexts(self) -> pd.DataFrame | None:
        path = self.run.results / "contexts.parquet"
        return load_parquet(path)[0] if path.exists() else None

    @cached_property
    def results(self) -> dict[str, Result]:
        paths = {path.stem: path for path in sorted(self.run.results.glob("*.json"))}
        return {name: self._result(paths[name]) for name in sorted(paths, key=lambda name: name not in FIRST)}

    def _result(self, path: Path) -> Result:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            check_shape(content)
            return Result.of(content)
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path} is not the result of an eval: {error}") from error

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return self._json("metrics.json", {})

    @cached_property
    def config(self) -> str:
        path = self.run.folder / "config.yaml"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @cached_property
    def lms(self) -> dict[str, str]:
        """What each language model is, as the crosscoder's own config tells it."""
        config = self._json("crosscoder/config.json", {})
        lms = (config.get("provenance", {}).get("pair") or {}).get("lms", {})
        return {name: " + ".join(str(part) for part in lm.values() if part) for name, lm in lms.items()}

    def _json(self, name: str, missing: Any) -> Any:
        path = self.run.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else missing
        except ValueError as error:
            raise UserError(f"{path} is not JSON: {error}") from error

    @property
    def meta(self) -> Mapping[str, Any]:
        return self.table.meta if self.table else {}

    @property
    def contrast(self) -> list[str]:
        return list(self.meta.get("contrast") or [])

    @property
    def title(self) -> str:
        return (
            " versus ".join(self.contrast or [", ".join(self.meta.get("sources", []))]).strip() or self.run.folder.name
        )

    @cached_property
    def verdicts(self) -> list[Verdict]:
        seen = set(self.table["verdict"]) if self.table and "verdict" in self.table.columns else set()
        return verdicts(self.contrast, seen) if seen else []

    @cached_property
    def counts(self) -> dict[str, int]:
        return self.table.frame["verdict"].value_counts().to_dict() if self.table and self.verdicts else {}

    @cached_property
    def controls(self) -> dict[str, dict[str, Any]]:
        """How often each verdict is given where there is nothing to find."""
        rows = self.results["nulls"].tables.get("verdicts", []) if "nulls" in self.results else []
        return {row["control"]: row for row in rows if row.get("control") not in (None, "this pair")}

    @cached_property
    def scores(self) -> list[Score]:
        """Those whose column the table has."""
        columns = self.table.columns if self.table else []
        return [score for score in scores(self.contrast, self.prompt_contrasts) if score.column in columns]

    @property
    def prompt_contrasts(self) -> list[str]:
        return self.table.prompt_contrasts if self.table else []

    @cached_property
    def sections(self) -> dict[str, Section]:
        """By the eval that each is about."""
        return sections(self.results, self.contrast)

    @property
    def has_answers(self) -> bool:
        return any(section.answers for section in self.sections.values())

    @property
    def all_plots(self) -> list[Plot]:
        """With those of the sections."""
        return self.plots + [plot for section in self.sections.values() for plot in section.plots]

    @cached_property
    def plots(self) -> list[Plot]:
        return plots(self.table, self._json("curves.json", []), self.verdicts)

    def key_figures(self) -> list[tuple[str, str]]:
        """Each as its number and what it is."""
        shown: dict[tuple[str, str], tuple[str, str]] = {}
        for name, key, style, meaning in KEY_FIGURES:
            scalars = self.results[name].scalars if name in self.results else {}
            for scalar, value in scalars.items():
                if scalar == key or scalar.startswith(f"{key}/"):
                    source = scalar.removeprefix(key).strip("/")
                    shown.setdefault((name, scalar), (written(value, style), meaning.format(source=source)))
        return list(shown.values())
