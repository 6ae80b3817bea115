"""Write report.html: the results of a run in one file without dependencies."""

import datetime
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from crosscoder.analysis.columns.norms import PUBLISHED
from crosscoder.analysis.descriptions import find_description
from crosscoder.analysis.table import LatentTable
from crosscoder.errors import UserError
from crosscoder.installation import name_command
from crosscoder.io.run_dir import Run, write_text
from crosscoder.report.html.pack import (
    LATENTS_PER_CHUNK,
    Vocabulary,
    embed_json,
    pack_columns,
    pack_contexts,
)
from crosscoder.report.inputs import Inputs
from crosscoder.report.numbers import format_number
from crosscoder.report.shapes import is_numeric_column
from crosscoder.report.terminal.tables import (
    console,
    format_coverage,
    format_figure,
    group_by_source,
    list_columns,
    list_tables,
)

ASSETS = Path(__file__).parent / "assets"
FILTERS = {
    "embed_json": embed_json,
    "format_coverage": format_coverage,
    "format_figure": format_figure,
    "format_number": format_number,
    "group_by_source": group_by_source,
    "is_numeric_column": is_numeric_column,
    "list_columns": list_columns,
    "list_tables": list_tables,
}


def write_report(run: Run) -> Path:
    """Write `report.html` into a run folder, completely or not at all.

    A section whose input is missing is absent.
    """
    if not run.results.is_dir() or not any(run.results.iterdir()):
        raise UserError(
            f"no results in {run.folder}: "
            f"first run `{name_command('evaluate')} crosscoder={run.folder}`"
        )
    path = run.report
    inputs = Inputs(run)
    write_text(path, render_page(inputs))
    for note in inputs.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    return path


def render_page(inputs: Inputs) -> str:
    """Return the HTML of the page."""
    data = Data(inputs) if inputs.table else None
    now = datetime.datetime.now().astimezone()
    return (
        load_templates().get_template("page.html.jinja").render(inputs=inputs, data=data, now=now)
    )


def load_templates() -> Environment:
    """Return the templates in `assets/` with their filters and functions."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= FILTERS
    environment.globals["asset"] = _read_asset
    environment.globals["plotly"] = lambda: Markup(get_plotlyjs())  # noqa: S704
    return environment


def _read_asset(name: str) -> Markup:
    return Markup((ASSETS / name).read_text(encoding="utf-8"))  # noqa: S704 (our own file)


@dataclass(frozen=True)
class Data:
    """Packed data of the list and the cards."""

    inputs: Inputs
    vocabulary: Vocabulary = field(default_factory=Vocabulary)

    @cached_property
    def columns(self) -> dict[str, Any]:
        """Pack the columns of the table."""
        assert self.inputs.table is not None
        return pack_columns(self.inputs.table.frame, self.vocabulary)

    @cached_property
    def chunks(self) -> list[dict[str, Any]]:
        """Pack the contexts in chunks of latents."""
        assert self.inputs.table is not None
        contexts = self.inputs.contexts
        if contexts is None:
            return []
        return list(pack_contexts(contexts, self.inputs.table["latent"], self.vocabulary))

    @property
    def about(self) -> dict[str, Any]:
        """Return further settings of the scripts."""
        inputs = self.inputs
        papers = {f"category/{paper}": rule.describe() for paper, rule in PUBLISHED.items()}
        return {
            "sources": inputs.meta.get("sources", []),
            "diff_pair": inputs.diff_pair,
            "rule": inputs.meta.get("rule") or {},
            "units": inputs.meta.get("units", ""),
            "lens": inputs.meta.get("lens") or {},
            "verdicts": {verdict.name: vars(verdict) for verdict in inputs.verdicts},
            "scores": [vars(score) for score in inputs.scores],
            "prompt_contrasts": inputs.prompt_contrasts,
            "papers": papers,
            "meanings": _describe_columns(inputs.table),
            "crosscoder": inputs.crosscoder or inputs.title,
            "latents_per_chunk": LATENTS_PER_CHUNK,
        }


def _describe_columns(table: LatentTable | None) -> dict[str, str]:
    """Return the meaning of every column that has a description."""
    columns = table.columns if table else []
    meanings = {}
    for name in columns:
        described = find_description(name, columns)
        if described is not None:
            meanings[name] = described.meaning
    return meanings
