"""The table over the runs of a multirun: a Hydra callback that reads each run's folder when all are done."""

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from crosscoder.report.tables import show
from crosscoder.runs import write_json

SHOWN = ("fve/", "fve_standardised/", "l0", "dead_fraction", "tokens_per_second", "train_seconds")


class SweepTable(Callback):
    """Prints one row per finished run, with the settings in which runs differ, and writes them as `sweep.json`.

    It reads the disk, since with other launchers jobs end in other processes.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table."""
        folder = Path(config.hydra.sweep.dir)
        runs = sorted(
            (file.parent for file in folder.glob("*/metrics.json")), key=lambda run: (len(run.name), run.name)
        )
        if not runs:
            return
        settings = [_flat(OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))) for run in runs]
        metrics = [json.loads((run / "metrics.json").read_text()) for run in runs]
        varied = _varied(settings)
        rows = [
            {
                "run": run.name,
                **{key: setting.get(key, "") for key in varied},
                **{key: value for key, value in metric.items() if key.startswith(SHOWN)},
            }
            for run, setting, metric in zip(runs, settings, metrics, strict=True)
        ]
        write_json(folder / "sweep.json", rows)
        show(f"Sweep of {len(rows)} runs", rows, str(folder))


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(config, dict):
        return {prefix: config if isinstance(config, str | int | float) else str(config)}
    return {
        key: value
        for name, part in config.items()
        for key, value in _flat(part, f"{prefix}.{name}" if prefix else name).items()
    }


def _varied(settings: list[dict[str, Any]]) -> list[str]:
    """Keys whose value differs between runs: the outermost of those that only repeat another, and not the run's folder."""
    keys = [
        key for key in dict.fromkeys(k for s in settings for k in s) if len({str(s.get(key)) for s in settings}) > 1
    ]
    columns: dict[tuple, str] = {}
    for key in sorted(keys, key=lambda key: key.count(".")):
        values = tuple(str(s.get(key)) for s in settings)
        if key != "run" and not any(str(s["run"]) in str(s.get(key)) for s in settings):
            columns.setdefault(values, key)
    return list(columns.values())
