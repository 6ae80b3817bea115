"""report.html: what a run found, as one file that needs nothing else to be read. Draws, never computes."""

import datetime
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from crosscoder.diff.norms import PUBLISHED
from crosscoder.diff.table import LatentTable, load_parquet
from crosscoder.errors import UserError
from crosscoder.evals import Result
from crosscoder.report.explain import Score, Verdict, scores, verdicts
from crosscoder.report.pack import LATENTS_PER_CHUNK, Vocabulary, embedded, pack_columns, pack_contexts
from crosscoder.report.plots import Plot, plots
from crosscoder.report.tables import by_source, figure
from crosscoder.runs import Run

FIRST = ("reconstruction", "splice")  # of the evals; the others follow
ASSETS = Path(__file__).parent / "assets"
# what a reader asks first: name of an eval, its scalar (all sources of it), how it is written, what it says
KEY_FIGURES = (
    ("reconstruction", "fve/difference", "score", "of the difference's variance explained"),
    ("reconstruction", "fve", "score", "of {source}'s variance explained"),
    ("splice", "loss_recovered", "score", "of {source}'s loss recovered when spliced in"),
    ("reconstruction", "l0", "number", "latents active per token"),
    ("reconstruction", "dead_fraction", "share", "of latents dead on held-out tokens"),
)


def write_report(run: Run) -> Path:
    """Write `report.html` into a run folder, whole or not at all. A section whose input is missing is absent."""
    if not run.results.is_dir() or not any(run.results.iterdir()):
        raise UserError(f"no results in {run.folder}: first run `python evaluate.py crosscoder={run.folder}`")
    path = run.folder / "report.html"
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    aside.write_text(render(Inputs(run)), encoding="utf-8")
    aside.replace(path)
    return path


def render(inputs: "Inputs") -> str:
    """The page."""
    page = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page.filters |= {"figure": figure, "written": written, "embedded": embedded, "by_source": by_source}
    page.globals["asset"] = lambda name: Markup((ASSETS / name).read_text(encoding="utf-8"))
    data = Data(inputs) if inputs.table else None
    return page.get_template("page.html.jinja").render(
        inputs=inputs,
        data=data,
        plotly=Markup(get_plotlyjs()) if inputs.plots else "",
        when=datetime.datetime.now().astimezone(),
    )


def written(value: Any, style: str) -> str:
    """A number as a `score`, a `share` (per cent), or as a plain figure."""
    if not isinstance(value, int | float) or style == "number":
        return f"{value:.1f}" if isinstance(value, float) and 1 <= abs(value) < 100 else figure(value)
    if style == "share":
        return f"{100 * value:.0f} %" if value >= 0.1 or value == 0 else f"{100 * value:#.2g} %"
    return f"{value:.3f}"


@dataclass(frozen=True)
class Inputs:
    """What is in a run folder, each part read once, None or empty where it is missing."""

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
        return {name: Result.load(paths[name]) for name in sorted(paths, key=lambda name: name not in FIRST)}

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
        lms = config.get("provenance", {}).get("pair", {}).get("lms", {})
        return {name: " + ".join(str(part) for part in lm.values() if part) for name, lm in lms.items()}

    def _json(self, name: str, missing: Any) -> Any:
        path = self.run.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else missing

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
        columns = self.table.columns if self.table else []
        return [name for name in columns if {f"{name}/p", f"{name}/holm"} <= set(columns)]

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


@dataclass(frozen=True)
class Data:
    """What the list and the cards are made of, packed."""

    inputs: Inputs
    vocabulary: Vocabulary = field(default_factory=Vocabulary)

    @cached_property
    def columns(self) -> dict[str, Any]:
        assert self.inputs.table is not None
        return pack_columns(self.inputs.table.frame, self.vocabulary)

    @cached_property
    def chunks(self) -> list[dict[str, Any]]:
        assert self.inputs.table is not None
        contexts = self.inputs.contexts
        return [] if contexts is None else list(pack_contexts(contexts, self.inputs.table["latent"], self.vocabulary))

    @property
    def about(self) -> dict[str, Any]:
        """What the scripts must know besides."""
        inputs = self.inputs
        return {
            "sources": inputs.meta.get("sources", []),
            "contrast": inputs.contrast,
            "rule": inputs.meta.get("rule") or {},
            "units": inputs.meta.get("units", ""),
            "verdicts": {verdict.name: vars(verdict) for verdict in inputs.verdicts},
            "scores": [vars(score) for score in inputs.scores],
            "prompt_contrasts": inputs.prompt_contrasts,
            "papers": {f"category/{paper}": rule.describe() for paper, rule in PUBLISHED.items()},
            "latents_per_chunk": LATENTS_PER_CHUNK,
        }
