"""report.html: what a run found, as one file that needs nothing else to be read. Draws, never computes."""

import datetime
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from crosscoder.diff.norms import PUBLISHED
from crosscoder.errors import UserError
from crosscoder.report.inputs import Inputs, written
from crosscoder.report.pack import LATENTS_PER_CHUNK, Vocabulary, embedded, pack_columns, pack_contexts
from crosscoder.report.shapes import numeric
from crosscoder.report.tables import by_source, columns, extent, figure
from crosscoder.runs import Run, write_text

ASSETS = Path(__file__).parent / "assets"


def write_report(run: Run) -> Path:
    """Write `report.html` into a run folder, whole or not at all. A section whose input is missing is absent."""
    if not run.results.is_dir() or not any(run.results.iterdir()):
        raise UserError(f"no results in {run.folder}: first run `python evaluate.py crosscoder={run.folder}`")
    path = run.folder / "report.html"
    write_text(path, render(Inputs(run)))
    return path


def render(inputs: Inputs) -> str:
    """The page."""
    data = Data(inputs) if inputs.table else None
    when = datetime.datetime.now().astimezone()
    return templates().get_template("page.html.jinja").render(inputs=inputs, data=data, when=when)


def templates() -> Environment:
    """Those in `assets/`, with what they use."""
    page = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page.filters |= {"figure": figure, "written": written, "embedded": embedded, "by_source": by_source}
    page.filters |= {"columns": columns, "numeric": numeric, "extent": extent}
    page.globals["asset"] = lambda name: Markup((ASSETS / name).read_text(encoding="utf-8"))
    page.globals["plotly"] = lambda: Markup(get_plotlyjs())
    return page


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
