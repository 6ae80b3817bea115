"""The table of a sweep, and the Pareto front of its runs: FVE against L0."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosscoder.errors import UserError
from crosscoder.io.identity import Identity
from crosscoder.io.run_dir import Run, write_json
from crosscoder.io.schema import read_yaml
from crosscoder.renamed import rename_settings
from crosscoder.report.html.pareto import write_pareto
from crosscoder.report.terminal import tables
from crosscoder.sweeps.figures import read_figures

# figures in sweep.json, and those in the printed table
WRITTEN_FIGURES = re.compile(
    r"fve/.+|fve_standardised/.+|l0|dead_fraction|count/.+|train_seconds|tokens_per_second"
)
PRINTED_FIGURES = re.compile(r"fve/.+|l0|count/.+_specific|train_seconds|tokens_per_second")
NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)")
UNFINISHED = "not finished"


def list_runs(folder: Path) -> list[Run]:
    """Return the runs in a sweep's folder, with numbers in names sorted by size."""
    paths = sorted(folder.glob("[!.]*"), key=_natural_key)
    return [Run(path) for path in paths if path.is_dir()]


def _natural_key(path: Path) -> list[str | float]:
    pieces: list[str | float] = []
    for position, piece in enumerate(NUMBER.split(path.name)):
        is_number = position % 2 == 1
        pieces.append(float(piece) if is_number else piece)
    return pieces


def summarise(folder: Path, runs: Sequence[Run]) -> None:
    """Print the table of a sweep, and write `sweep.json` and `pareto.html` to its folder.

    Raises:
        UserError: Some runs are not finished; the message names them.
    """
    settings = [_read_settings(run) for run in runs]
    varied = find_varied_keys([one for one in settings if one])
    rows = []
    for run, one in zip(runs, settings, strict=True):
        rows.append(_build_row(run, {key: one.get(key, "") for key in varied}))
    fve = mark_front(rows)
    write_json(folder / "sweep.json", rows)

    figures = [name for name in tables.list_columns(rows) if PRINTED_FIGURES.fullmatch(name)]
    columns = ["run", *varied, *figures, "pareto"]
    printed = [_select(row, columns) for row in rows]
    tables.show(f"Sweep of {len(rows)} runs", printed, str(folder))
    write_pareto(folder / "pareto.html", printed, varied, fve)

    unfinished = [row["run"] for row in rows if row["pareto"] == UNFINISHED]
    if unfinished:
        raise UserError(
            f"not finished: {', '.join(unfinished)}; the same command with "
            f"hydra.sweep.dir={folder} resumes them"
        )


def _select(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Return these columns of a row, with None for those that it lacks."""
    return {name: row.get(name) for name in columns}


def find_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Return for each (fve, l0) whether it is on the Pareto front.

    A point is on the front if no other one has more FVE at no more L0, or as much FVE at less L0.
    """
    front = set()
    best_fve = -math.inf
    for fve, l0 in sorted(points, key=lambda point: (point[1], -point[0])):
        if fve > best_fve:
            best_fve = fve
            front.add((fve, l0))
    return [point in front for point in points]


def mark_front(rows: Sequence[dict[str, Any]]) -> str:
    """Write into each row's `pareto` whether its run is on the front.

    Returns:
        Name of the FVE that the front uses: that of the difference if there is one.
    """
    names = [name for name in tables.list_columns(rows) if name.startswith("fve/")]
    fve = "fve"
    if "fve/difference" in names:
        fve = "fve/difference"
    elif names:
        fve = names[0]
    complete = [row for row in rows if row.get(fve) is not None and row.get("l0") is not None]
    is_on_front = find_front([(row[fve], row["l0"]) for row in complete])
    for row, is_on in zip(complete, is_on_front, strict=True):
        row["pareto"] = "front" if is_on else ""
    return fve


def find_varied_keys(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys whose values differ between runs.

    Of several keys with the same values, only the outermost is returned.
    """
    keys: dict[str, None] = {}  # ordered and without repetitions
    for one in settings:
        keys |= dict.fromkeys(one)
    varied: dict[tuple[str, ...], str] = {}
    for key in sorted(keys, key=lambda key: key.count(".")):
        values = tuple(str(one.get(key)) for one in settings)
        if len(set(values)) > 1:
            varied.setdefault(values, key)
    return list(varied.values())


def _read_settings(run: Run) -> dict[str, Any]:
    """Return the settings that define a run, by flat key. A run that has not started has none."""
    if not run.config.exists():
        return {}
    config = rename_settings(read_yaml(run.config, dict[str, Any]))
    return dict(Identity.from_config(config).settings)


def _build_row(run: Run, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's name, settings and figures."""
    row = {"run": run.folder.name, **settings}
    if not run.metrics.exists():
        return {**row, "pareto": UNFINISHED}
    for name, value in read_figures(run).items():
        if WRITTEN_FIGURES.fullmatch(name):
            row[name] = value
    return {**row, "pareto": ""}
