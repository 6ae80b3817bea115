"""Timing that compares like with like: contestants take turns within one process, so that a slow minute hits them all."""

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from crosscoder.report.tables import console, figure, show


def arguments(doc: str, **options: dict[str, Any]) -> argparse.Namespace:
    """The command line of a benchmark: its own options (name → add_argument's), `--json`, `--device`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name, option in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **option)
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    return parser.parse_args()


def milliseconds(contestants: Mapping[str, Callable[[], Any]], rounds: int, device: str = "cpu") -> dict[str, float]:
    """Median time of each contestant over `rounds` turns, after one that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            seconds = timed(run, device)
            if turn:
                taken[name].append(1000 * seconds)
    return {name: median(times) for name, times in taken.items()}


def timed(run: Callable[[], Any], device: str = "cpu") -> float:
    """Seconds that one call takes, everything it queued on the device included."""
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    """Wait for what is queued on the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def report(title: str, rows: list[dict[str, Any]], to: Path | None, device: str = "cpu") -> None:
    """Print the rows, one figure a line, and write `{"rows": […], "machine": {…}}`."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else f"{torch.get_num_threads()} CPU threads"
    machine = {"device": name, "torch": torch.__version__, "python": platform.python_version()}
    first, *others = rows[0]
    show(title, [{first: key} | {figure(row[first]): row.get(key, "") for row in rows} for key in others])
    console.print(", ".join(machine.values()), style="dim")
    if to:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(json.dumps({"rows": rows, "machine": machine}, indent=1) + "\n", encoding="utf-8")
