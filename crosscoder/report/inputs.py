"""Content of a report: what the run folder holds about its crosscoder, prepared for drawing."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from crosscoder.analysis.calibration import read_fdr
from crosscoder.analysis.table import LatentTable
from crosscoder.evals import Result
from crosscoder.io.run_dir import Run
from crosscoder.report.current import HASH_KEY, find_crosscoder_sha256, is_other
from crosscoder.report.html.explain import (
    Score,
    Verdict,
    describe_calibration,
    list_scores,
    list_verdicts,
)
from crosscoder.report.html.findings import Findings, find_findings
from crosscoder.report.html.plots import Plot, build_plots
from crosscoder.report.html.section import Section
from crosscoder.report.html.sections import build_sections
from crosscoder.report.numbers import format_number
from crosscoder.report.planted import PlantedBehaviour, read_planted
from crosscoder.report.run_files import RunFiles

# at the top of the page: eval, scalar (all of its sources), style of the number, meaning
KEY_FIGURES = (
    ("reconstruction", "fve/difference", "score", "of the difference's variance explained"),
    ("reconstruction", "fve", "score", "of {source}'s variance explained"),
    ("splice", "loss_recovered", "score", "of {source}'s loss recovered when spliced in"),
    ("reconstruction", "l0", "number", "active latents per token"),
    ("reconstruction", "dead_fraction", "percent", "of latents dead on held-out tokens"),
)


@dataclass(frozen=True)
class Inputs:
    """Content of a report; what the run lacks is None or empty.

    Results, tables and metrics that belong to another crosscoder are left out.
    """

    run: Run

    @cached_property
    def files(self) -> RunFiles:
        """Return the files of the run."""
        return RunFiles(self.run)

    @cached_property
    def crosscoder(self) -> str | None:
        """Return the hash of the crosscoder that the report is about."""
        return find_crosscoder_sha256(self.run)

    @cached_property
    def table(self) -> LatentTable | None:
        """Return the table of latents."""
        table = self.files.latents
        if table is None or is_other(table.meta, self.crosscoder):
            return None
        return table

    @cached_property
    def contexts(self) -> pd.DataFrame | None:
        """Return the contexts of the latents."""
        if self.files.contexts is None:
            return None
        frame, meta = self.files.contexts
        return None if is_other(meta, self.crosscoder) else frame

    @cached_property
    def results(self) -> dict[str, Result]:
        """Return the results by name."""
        results = {}
        for name, result in self.files.results.items():
            if not is_other(result.meta, self.crosscoder):
                results[name] = result
        return results

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Return the metrics of the run."""
        metrics = self.files.metrics
        return {} if is_other(metrics, self.crosscoder) else metrics

    @cached_property
    def notes(self) -> list[str]:
        """Return notes on files that are not shown, or may belong to another crosscoder."""
        metas = self.files.list_metas()
        others = [name for name, meta in metas.items() if is_other(meta, self.crosscoder)]
        unknown = []
        if self.crosscoder:
            unknown = [name for name, meta in metas.items() if meta.get(HASH_KEY) is None]
        notes = []
        if others:
            notes.append(
                "Left out because they belong to another crosscoder than the one in this folder: "
                f"{', '.join(others)}."
            )
        if unknown:
            notes.append(
                "May belong to another crosscoder than the one in this folder "
                f"(no hash was saved): {', '.join(unknown)}."
            )
        return notes

    @property
    def config(self) -> str:
        """Return the text of config.yaml."""
        return self.files.config

    @cached_property
    def planted_behaviour(self) -> PlantedBehaviour | None:
        """Return what was planted in the models, if they are an organism's."""
        return read_planted(self.config, self.results)

    @property
    def lms(self) -> dict[str, str]:
        """Return a description of each language model."""
        return self.files.lms

    @property
    def meta(self) -> Mapping[str, Any]:
        """Return the meta of the table of latents."""
        return self.table.meta if self.table else {}

    @property
    def diff_pair(self) -> list[str]:
        """Return the two sources that are compared; empty if there are none."""
        return list(self.meta.get("contrast") or [])

    @property
    def title(self) -> str:
        """Return the title of the page: the compared sources, all sources, or the folder's name."""
        names = " versus ".join(self.diff_pair) or ", ".join(self.meta.get("sources", []))
        return names.strip() or self.run.folder.name

    @property
    def downloads(self) -> list[str]:
        """Return the paths of the tables beside the page, relative to it."""
        paths = []
        for name, found in (("latents", self.table), ("contexts", self.contexts)):
            if found is not None:
                path = self.run.table_path(name)
                paths.append(path.relative_to(self.run.report.parent).as_posix())
        return paths

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Return the verdicts of the page; none if the table has no verdicts."""
        if not self.table or "verdict" not in self.table.columns:
            return []
        found = set(self.table["verdict"])
        return list_verdicts(self.diff_pair, found, read_fdr(self.meta)) if found else []

    @property
    def calibration_note(self) -> str:
        """Return a sentence on what the verdict of specific latents rests on."""
        return describe_calibration(self.meta)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Return the number of latents by verdict."""
        if not self.table or not self.verdicts:
            return {}
        return self.table.frame["verdict"].value_counts().to_dict()

    @cached_property
    def controls(self) -> dict[str, dict[str, Any]]:
        """Return the number of latents by verdict in each null control."""
        if "nulls" not in self.results:
            return {}
        rows = {}
        for row in self.results["nulls"].tables.get("verdicts", []):
            name = row.get("control")
            if isinstance(name, str) and name != "this pair":
                rows[name] = row
        return rows

    @cached_property
    def scores(self) -> list[Score]:
        """Return the scores that the table has a column for."""
        if not self.table:
            return []
        scores = list_scores(self.diff_pair, self.prompt_contrasts)
        return [score for score in scores if score.column in self.table.columns]

    @property
    def prompt_contrasts(self) -> list[str]:
        """Return the columns that compare two sets of prompts."""
        return self.table.prompt_contrasts if self.table else []

    @cached_property
    def findings(self) -> Findings | None:
        """Return what the run found about the difference; None if it compares no models."""
        if not self.table or not self.diff_pair:
            return None
        found = find_findings(self.table, self.contexts, self.results, self.diff_pair)
        return found or None

    @cached_property
    def sections(self) -> dict[str, Section]:
        """Return the sections by the eval that each is about."""
        return build_sections(self.results, self.diff_pair)

    @property
    def has_answers(self) -> bool:
        """Tell whether any section shows answers."""
        return any(section.answers for section in self.sections.values())

    @cached_property
    def plots(self) -> list[Plot]:
        """Return the plots of the table and the training curves."""
        return build_plots(self.table, self.files.curves, self.verdicts)

    @property
    def all_plots(self) -> list[Plot]:
        """Return all plots of the page, those of the sections included."""
        plots = list(self.plots)
        for section in self.sections.values():
            plots += section.plots
        return plots

    def key_figures(self) -> list[tuple[str, str]]:
        """Return the figures at the top of the page, each with its meaning."""
        figures: dict[tuple[str, str], tuple[str, str]] = {}
        for name, key, style, meaning in KEY_FIGURES:
            scalars = self.results[name].scalars if name in self.results else {}
            for scalar, value in scalars.items():
                if scalar != key and not scalar.startswith(f"{key}/"):
                    continue
                source = scalar.removeprefix(key).strip("/")
                text = format_number(value, style)
                figures.setdefault((name, scalar), (text, meaning.format(source=source)))
        return list(figures.values())
