"""Error rate of the calibrated verdict on planted worlds, where the truth is known.

python -m benchmarks.calibration --worlds easy hard under --json docs/recovery/calibration.json

For each world and seed train.py trains a crosscoder, eval=nulls plants decoys into the world's
activations and calibrates the verdict, and eval=recovery compares the calls with the truth, once
for each false-discovery rate. The calibration never sees the truth. ± is half a 95 % interval over
seeds.
"""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.measure import arguments, write
from benchmarks.recovery import TRAIN, VARIANTS, WORLDS, command, train, written
from crosscoder.errors import exit_on_error
from crosscoder.report.terminal.tables import show

EVALUATE = TRAIN.with_name("evaluate.py")
RATES = (0.05, 0.1)
SOURCES = ("chat", "base")
PLANTED = "eval.nulls.controls=[{_target_: crosscoder.evals.support.controls.Planted}]"
Row = dict[str, Any]


@exit_on_error()
def main() -> None:
    """Train, calibrate, judge, and print the tables."""
    args = arguments(
        str(__doc__),
        worlds={
            "nargs": "+",
            "choices": list(WORLDS),
            "default": ["easy", "hard", "under"],
            "help": "conf/data",
        },
        variant={"choices": list(VARIANTS), "default": "ours", "help": "see recovery.py"},
        seeds={"type": int, "default": 3, "help": "of world and weights"},
        first_seed={"type": int, "default": 20, "help": "the score was chosen on seeds below"},
        steps={"type": int, "default": 1500, "help": "of 1,024 tokens"},
        tokens={"type": int, "default": 200_000, "help": "drawn to train on"},
        lr={"type": float, "default": 2e-3, "help": "of the training"},
        n_latents={"type": int, "default": 1024, "help": "of the crosscoder"},
        jobs={"type": int, "default": 2, "help": "runs at a time, one thread each"},
        runs={"type": Path, "default": Path("outputs/calibration"), "help": "folder of the runs"},
    )
    args.runs = args.runs.absolute()
    jobs = [
        (world, seed)
        for world in args.worlds
        for seed in range(args.first_seed, args.first_seed + args.seeds)
    ]
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(partial(train_and_judge, args), world, seed) for world, seed in jobs]
        done: list[Row] = []
        for one in track(runs, description="worlds"):
            done += one.result()
    tables = {"calibrated verdict": summarise(done, args.worlds)}
    for title, rows in tables.items():
        show(title, rows)
    if args.json:
        write(args.json, "Calibrated verdict", [], args.device, tables=tables, runs=done)


def train_and_judge(args: Any, world: str, seed: int) -> list[Row]:
    """Train, calibrate and judge; a row per false-discovery rate."""
    folder = train(args, world, args.variant, "stage=all", seed)
    kept = folder / "calibrated.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    settings = [f"crosscoder={folder}", f"seed={seed}"]
    rows = []
    for rate in RATES:
        # the second time the run's own calibration is there
        evals = "eval=[nulls,recovery]" if rate == RATES[0] else "eval=[recovery]"
        planted = [PLANTED] if rate == RATES[0] else []
        command(EVALUATE, *settings, evals, f"rule.fdr={rate}", *planted, OMP_NUM_THREADS="1")
        result = json.loads((folder / "results" / "recovery.json").read_text(encoding="utf-8"))
        rows.append({"world": world, "seed": seed, "fdr": rate, **result["scalars"]})
        rows[-1]["called"] = count_called(result["tables"]["rules"])
    kept.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def count_called(rules: list[Row]) -> dict[str, int]:
    """Return the number of latents that the verdict calls exclusive to each source."""
    return {row["source"]: row["called"] for row in rules if row["rule"] == "verdict"}


def summarise(done: list[Row], worlds: list[str]) -> list[Row]:
    """Return a row per world and rate: means over seeds."""
    rows = []
    for world in worlds:
        for rate in RATES:
            members = [row for row in done if row["world"] == world and row["fdr"] == rate]
            shown: Row = {"world": world, "nominal": rate}
            shown["false discoveries"] = written([measure_fdr(row) for row in members])
            for source in SOURCES:
                for title, key in (("recall", "recall"), ("F1", "f1")):
                    values = [row[f"{key}/verdict/{source}"] for row in members]
                    shown[f"{title}, {source}"] = written(values)
                values = [row[f"f1/presence/{source}"] for row in members]
                shown[f"F1 of presence, {source}"] = written(values)
            rows.append(shown)
    return rows


def measure_fdr(row: Row) -> float:
    """Return the fraction of all latents called exclusive, to either source, that is wrong."""
    called = np.array([row["called"][source] for source in SOURCES], dtype=float)
    precision = np.array([row[f"precision/verdict/{source}"] for source in SOURCES])
    if not called.sum():
        return 0.0
    return float((called * (1 - precision)).sum() / called.sum())


if __name__ == "__main__":
    main()
