"""Fair timing: contestants take turns, so that a slow minute affects all of them."""

import argparse
import json
import multiprocessing
import os
import platform
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch

from crosscoder.io.files import write_text
from crosscoder.report.terminal.tables import console, format_figure, show
from crosscoder.runtime.memory import LARGE_PAGES, retain_freed_memory
from crosscoder.runtime.progress import progress

Step = Callable[[], object]


def arguments(doc: str, **options: dict[str, Any]) -> argparse.Namespace:
    """Parse the command line of a benchmark.

    Args:
        doc: Description of the benchmark.
        options: Its own options by name, as arguments of `add_argument`.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, option in options.items():
        option["help"] = f"{option['help']} (default: {option.get('default', False)})"
        parser.add_argument(f"--{name.replace('_', '-')}", **option)
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )
    return parser.parse_args()


@dataclass(frozen=True)
class Contestant:
    """Steps built by `build(*args)` → name → step, in a process of their own.

    With `keep`, that process uses memory as our training does (crosscoder/runtime/memory.py): freed
    memory stays with it, and its pages are large.
    """

    build: Callable[..., Mapping[str, Step]]
    args: tuple
    keep: bool = False

    def turn(self, steps: int) -> dict[str, list[float]]:
        """Return the milliseconds of `steps` consecutive steps of each, after a warm-up."""
        warm_up = 3 if self.keep else 1  # the memory that is kept has to be had first
        with retain_freed_memory() if self.keep else nullcontext():
            return {
                name: [1000 * timed(step) for _ in range(warm_up + steps)][warm_up:]
                for name, step in self.build(*self.args).items()
            }


def milliseconds(contestants: list[Contestant], turns: int, steps: int) -> dict[str, float]:
    """Median time of a step of each contestant; a turn is a fresh process, and runs alone."""
    taken: defaultdict[str, list[float]] = defaultdict(list)
    with progress("turns") as bar:
        task = bar.add_task("benchmark", total=turns * len(contestants), note="")
        for _ in range(turns):
            for contestant in contestants:
                bar.update(task, note=contestant.build.__name__)
                # read by torch when a process starts to use it
                pages = {LARGE_PAGES: str(int(contestant.keep))}
                with patch.dict(os.environ, pages):
                    times_by_name = alone(contestant.turn, steps)
                for name, times in times_by_name.items():
                    taken[name] += times
                bar.advance(task)
    return {name: median(times) for name, times in taken.items()}


def alone(run: Callable[..., Any], *args: Any) -> Any:
    """Return `run(*args)` from a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(run, *args).result()


def timed(run: Step) -> float:
    """Seconds that one call takes, everything it queued on a GPU included."""
    synchronise()
    start = time.perf_counter()
    run()
    synchronise()
    return time.perf_counter() - start


def synchronise() -> None:
    """Wait for what is queued on a GPU, if one is in use."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def report(title: str, rows: list[dict[str, Any]], to: Path | None, device: str = "cpu") -> None:
    """Print the rows, one figure a line, and write `{"title", "machine", "command", "rows"}`."""
    show(title, across(rows))
    console.print(machine(device), style="dim")
    if to:
        write(to, title, rows, device)


def write(
    to: Path, title: str, rows: list[dict[str, Any]], device: str = "cpu", **more: Any
) -> None:
    """Return rows with their machine and command; `more` adds further entries."""
    command = f"python -m {sys.modules['__main__'].__spec__.name} {' '.join(sys.argv[1:])}"
    written = {"title": title, "machine": machine(device), "command": command, "rows": rows, **more}
    write_text(to, json.dumps(written, indent=1) + "\n")


def across(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as columns: one figure a line, the rows' first values on top."""
    first, *others = rows[0]
    return [
        {first: key} | {format_figure(row[first]): row.get(key, "") for row in rows}
        for key in others
    ]


def machine(device: str) -> str:
    """Describe the machine."""
    if device != "cpu":
        name = torch.cuda.get_device_name()
    else:
        cpus = (
            re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
            if sys.platform == "linux"
            else None
        )
        name = f"{torch.get_num_threads()} threads of {cpus[1] if cpus else platform.processor()}"
    return f"{name}, torch {torch.__version__}, Python {platform.python_version()}"
