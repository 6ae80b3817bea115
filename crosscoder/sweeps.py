"""Many runs: a Hydra multirun that does nothing twice, and the Pareto table that it ends with."""

import functools
import importlib.util
import json
import math
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from crosscoder import processes
from crosscoder.errors import UserError, one_line
from crosscoder.report import tables
from crosscoder.runs import Run, write_json

BESIDE = ("run", "resume", "given", "logger", "objective")  # settings that make no other run
KEPT = r"fve/.+|fve_standardised/.+|l0|dead_fraction|count/.+|train_seconds|tokens_per_second"  # of a run's figures
SHOWN = r"fve/.+|l0|count/.+_specific|train_seconds|tokens_per_second"
UNFINISHED = "not finished"
PLUGINS = {  # of Hydra's: group and name, module, and the extra of ours that brings it
    ("hydra/launcher", "joblib"): ("hydra_joblib_launcher", "sweeps"),
    ("hydra/launcher", "submitit_slurm"): ("hydra_submitit_launcher", "slurm"),
    ("hydra/launcher", "ray"): ("hydra_ray_launcher", "ray"),
    ("hydra/sweeper", "optuna"): ("hydra_optuna_sweeper", "sweeps"),
}


def trial(main: Callable[[DictConfig], None]) -> Callable[[DictConfig], Any]:
    """Decorates an entry point: as a job of a multirun, it does what is left of its run, and if it fails, the others go on.

    Returns the figures that the sweeper optimises, those named by `objective`.
    """

    @functools.wraps(main)
    @one_line()
    def job(cfg: DictConfig) -> Any:
        if not (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN):
            return main(cfg)
        if processes.started()[0] > 1:
            raise UserError("a run of a sweep is one process; several share a run that is started without -m")
        run = Run(cfg.run)
        with run.claimed():
            if run.config.exists():
                _check_same(run, cfg)
                cfg.resume = cfg.run
            if not run.metrics.exists():
                try:
                    main(cfg)
                except SystemExit as end:
                    if end.code != 1:  # an error, of which has been said what it is
                        raise
                except Exception:
                    traceback.print_exc()
            return objective(run, cfg.objective)

    return job


def objective(run: Run, names: str | Sequence[str] | None) -> Any:
    """One figure of a finished run, or several."""
    if names is None or not run.metrics.exists():
        return None
    there = figures(run)
    if unknown := [name for name in ([names] if isinstance(names, str) else names) if name not in there]:
        raise UserError(f"objective {', '.join(unknown)}: what a run gives is {', '.join(there)}")
    return there[names] if isinstance(names, str) else [there[name] for name in names]


def figures(run: Run) -> dict[str, float]:
    """What came out of a finished run: the numbers of metrics.json, and of `eval=[diff]` the counts."""
    diff = run.result("diff")
    counts = json.loads(diff.read_text())["scalars"] if diff.exists() else {}
    metrics = json.loads(run.metrics.read_text()) | {k: n for k, n in counts.items() if k.startswith("count/")}
    return {key: value for key, value in metrics.items() if not isinstance(value, str)}


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Of each (fve, l0), whether it is on the Pareto front: no other has more FVE at no more L0, or as much at less."""
    kept, best = set(), -math.inf
    for l0, minus_fve in sorted({(l0, -fve) for fve, l0 in points}):
        if -minus_fve > best:
            best = -minus_fve
            kept.add((best, l0))
    return [point in kept for point in points]


class SweepTable(Callback):
    """Ends a multirun with its Pareto table: one row per run, with the settings in which runs differ.

    It is printed, and in the sweep's folder as `sweep.json` and `pareto.html`. All of it is read from the disk, since with
    other launchers jobs end in other processes.
    """

    @one_line()
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and write; runs that did not finish are an error, which names them."""
        folder = Path(config.hydra.sweep.dir)
        runs = [Run(path) for path in sorted(folder.glob("[!.]*"), key=_natural) if path.is_dir()]
        if not runs or config.get("stage") == "harvest":
            return
        settings = [_settings(OmegaConf.load(run.config)) if run.config.exists() else {} for run in runs]
        varied = _varied([setting for setting in settings if setting])
        rows = [
            _row(run, {key: setting.get(key, "") for key in varied})
            for run, setting in zip(runs, settings, strict=True)
        ]
        fve = mark(rows)
        write_json(folder / "sweep.json", rows)
        columns = ("run", *varied, *filter(re.compile(SHOWN).fullmatch, tables.columns(rows)), "pareto")
        shown = [{name: row.get(name) for name in columns} for row in rows]
        tables.show(f"Sweep of {len(rows)} runs", shown, str(folder))

        from crosscoder.report.pareto import write_pareto  # with plotly and pandas, which no single run waits for

        write_pareto(folder / "pareto.html", shown, varied, fve)
        if missing := [row["run"] for row in rows if row["pareto"] == UNFINISHED]:
            raise UserError(
                f"not finished: {', '.join(missing)}; the same command, with hydra.sweep.dir={folder}, goes on"
            )


def mark(rows: Sequence[dict[str, Any]]) -> str:
    """Say in each row's `pareto` whether the run is on the front, by the FVE of the difference if there is one.

    Returns the name of the FVE that was taken.
    """
    fves = [key for key in tables.columns(rows) if key.startswith("fve/")]
    fve = "fve/difference" if "fve/difference" in fves else next(iter(fves), "fve")
    drawn = [row for row in rows if row.get(fve) is not None and row.get("l0") is not None]
    for row, is_on in zip(drawn, front([(row[fve], row["l0"]) for row in drawn]), strict=True):
        row["pareto"] = "front" if is_on else ""
    return fve


def _check_same(run: Run, cfg: DictConfig) -> None:
    """What was begun in a run's folder is the very run that is asked for now."""
    before, now = _settings(OmegaConf.load(run.config)), _settings(cfg)
    others = [key for key in before | now if before.get(key) != now.get(key)]
    if others:
        key = min(others, key=lambda key: key.count("."))
        raise UserError(
            f"{run.folder} holds a run of other settings ({key}: {before.get(key)}, not {now.get(key)}): choose another "
            "hydra.sweep.dir, or name runs by what varies (hydra.sweep.subdir, as in conf/sweep)"
        )


def _row(run: Run, settings: Mapping[str, Any]) -> dict[str, Any]:
    row = {"run": run.folder.name, **settings}
    if not run.metrics.exists():
        return row | {"pareto": UNFINISHED}
    return row | {key: value for key, value in figures(run).items() if re.fullmatch(KEPT, key)} | {"pareto": ""}


def _natural(path: Path) -> list[str | float]:
    """Sorts numbers in names by their size."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", path.name)
    return [float(part) if i % 2 else part for i, part in enumerate(parts)]


def _settings(config: Any) -> dict[str, Any]:
    """What makes a run this one and no other, by flat key."""
    settings: Any = OmegaConf.to_container(config, resolve=True)
    return _flat({key: value for key, value in settings.items() if key not in BESIDE})


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(config, dict):
        return {prefix: config if isinstance(config, str | int | float) else str(config)}
    return {
        key: value
        for name, part in config.items()
        for key, value in _flat(part, f"{prefix}.{name}" if prefix else name).items()
    }


def _varied(settings: list[dict[str, Any]]) -> list[str]:
    """Keys whose value differs between runs: of those that only repeat another, the outermost."""
    keys = [
        key for key in dict.fromkeys(k for s in settings for k in s) if len({str(s.get(key)) for s in settings}) > 1
    ]
    columns: dict[tuple, str] = {}
    for key in sorted(keys, key=lambda key: key.count(".")):
        columns.setdefault(tuple(str(s.get(key)) for s in settings), key)
    return list(columns.values())


def _missing(name: str, extra: str) -> None:
    raise UserError(f'{name} needs a plugin of Hydra\'s: pip install -e ".[{extra}]"')


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(f"hydra_plugins.{module}") is not None
    except ModuleNotFoundError:  # there are no plugins at all
        return False


OmegaConf.register_new_resolver("missing", _missing, replace=True)
for (group, name), (module, extra) in PLUGINS.items():
    if not _installed(module):  # something must stand for it, that a choice of it can be composed and refused by name
        node = {"_target_": f"${{missing:{group}/{name},{extra}}}"}
        ConfigStore.instance().store(group=group, name=name, node=node)
