"""Everything that has to be tried on a GPU, in one go of at most eight minutes, without the hub.

Tests that need a GPU, then one training step at three sizes: ours, with `torch.compile`, the floor
(benchmarks/train_step.py), a dense crosscoder, and other trainers where they are installed; with
the peak memory of each, and a profile of ours. Every part is a process of its own with a time
budget. A part that fails does not stop the others, but the exit code is then 1.

The folder gets `gpu.json`, and for every part what it printed and what it measured.
`--tiny --device cpu` runs all of it at sizes that say nothing; `--minutes` stretches the budgets.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree

import torch

from benchmarks import rivals, train_step
from benchmarks.measure import Contestant, Step, write
from benchmarks.memory import count_unavoidable, resident
from benchmarks.train_step import Size
from crosscoder.io.files import write_text
from crosscoder.report.terminal.tables import console, show

MINUTES = 8  # of all parts together
LEFT_OUT = "left out"
PASSED = "passed"
# published settings of Gemma 2 2B at two batch sizes, and those of conf/train.yaml
SIZES = {
    "large-4096": Size(n_latents=73_728, width=2304, k=100, batch=4096, device="cuda"),
    "large-2048": Size(n_latents=73_728, width=2304, k=100, batch=2048, device="cuda"),
    "default": Size(n_latents=4096, width=640, k=32, batch=1024, device="cuda"),
}
# n_latents, width and k; batches differ as above
TINY = {"n_latents": 64, "width": 8, "k": 2}
CONTESTANTS: dict[str, Callable[[Size], Mapping[str, Step]]] = {
    "ours": train_step.ours,
    "floor": train_step.unavoidable,
    "dense": train_step.dense,
    "sparsify": rivals.sparsify,
    "sae_lens": rivals.sae_lens,
    "compiled": train_step.compiled,
}
OTHERS = ("sparsify", "sae_lens")  # from PyPI


@dataclass(frozen=True)
class Part:
    """A part of the run.

    Args:
        name: Name of its files.
        budget: Seconds that it may take, of eight minutes in all.
    """

    name: str
    budget: float


def list_parts() -> list[Part]:
    """List the parts, the most important first."""
    profiles = [Part(f"profile.{size}", 40) for size in ("large-4096", "default")]
    steps = [Part(f"step.{size}.{name}", 40) for name, size in product(CONTESTANTS, SIZES)]
    n_own = 2 * len(SIZES)  # ours and the floor
    return [Part("tests", 150), *steps[:n_own], *profiles, *steps[n_own:]]


def main() -> None:
    """Run all parts, or the one that a process was started for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--device", default="cuda", help="cuda or cpu (default: cuda)")
    parser.add_argument("--tiny", action="store_true", help="sizes that say nothing")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"at most (default: {MINUTES})"
    )
    parser.add_argument("--part", help="run this part alone, as the run itself does")
    arguments = parser.parse_args()
    if arguments.part:
        run_part(arguments.part, arguments)
    elif arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU: --tiny --device cpu tries the program without one")
    else:
        sys.exit(run_all(arguments))


def run_all(arguments: argparse.Namespace) -> int:
    """Run every part in a process of its own; print and write the results; return an exit code."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    outcomes = []
    for part in list_parts():
        outcomes.append(start(part, end, arguments))
        console.print(" ".join(map(str, outcomes[-1].values())), highlight=False, soft_wrap=True)
    rows = list_rows(arguments)
    write(arguments.out / "gpu.json", "On a GPU", rows, arguments.device, parts=outcomes)
    show("Parts", outcomes)
    show("One training step", rows)
    return int(any(outcome["outcome"] not in (PASSED, LEFT_OUT) for outcome in outcomes))


def start(part: Part, end: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a part in its own process and return its outcome."""
    budget = min(part.budget * arguments.minutes / MINUTES, end - time.monotonic())
    missing = part.name.rpartition(".")[2]
    (arguments.out / f"{part.name}.json").unlink(missing_ok=True)
    if missing in OTHERS and not importlib.util.find_spec(missing):
        return {"part": part.name, "outcome": LEFT_OUT, "seconds": 0, "why": "is not installed"}
    if budget <= 0:
        return {"part": part.name, "outcome": "no time", "seconds": 0, "why": "all time is used up"}
    command = [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:], "--part", part.name]
    began = time.monotonic()
    with (arguments.out / f"{part.name}.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )
        try:
            outcome = PASSED if process.wait(budget) == 0 else "failed"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            process.wait()
            outcome = "out of time"
    seconds = round(time.monotonic() - began, 1)
    why = "" if outcome == PASSED else f"see {part.name}.log"
    found = read(arguments.out / f"{part.name}.json")
    if LEFT_OUT in found:
        outcome, why = LEFT_OUT, found[LEFT_OUT]
    return {"part": part.name, "outcome": outcome, "seconds": seconds, "why": why}


def run_part(name: str, arguments: argparse.Namespace) -> None:
    """Run one part in this process."""
    kind, _, rest = name.partition(".")
    to = arguments.out / f"{name}.json"
    if kind == "tests":
        sys.exit(run_tests(to, arguments.tiny))
    size_name, _, contestant = rest.partition(".")
    size = choose_size(size_name, arguments)
    if kind == "profile":
        write_text(arguments.out / f"{name}.txt", profile(size))
        return
    try:
        measured = measure(contestant, size)
    except torch.OutOfMemoryError:
        if contestant in ("ours", "floor"):
            raise
        measured = {LEFT_OUT: "does not fit the GPU's memory"}
    write_text(to, json.dumps(measured) + "\n")


def choose_size(name: str, arguments: argparse.Namespace) -> Size:
    """Return a size by its name, on the device that was asked for."""
    size = replace(SIZES[name], device=arguments.device)
    return replace(size, **TINY, batch=size.batch // 64) if arguments.tiny else size


def run_tests(to: Path, is_tiny: bool) -> int:
    """Run the tests that need a GPU, and write how many passed; return an exit code."""
    chosen = ["-n", "0", "tests/unit/core/kernels"] if is_tiny else ["-n", "4", "tests"]
    report = to.with_suffix(".xml")
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-p", "no:cacheprovider", *chosen]
    code = subprocess.run([*command, f"--junitxml={report}"], check=False).returncode
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    write_text(to, json.dumps(counts) + "\n")
    return code


def measure(name: str, size: Size) -> dict[str, float]:
    """Return milliseconds of each step of a contestant, and its peak memory in MB."""
    before = resident("VmRSS")
    contestant = Contestant(CONTESTANTS[name], (size,), keep=True)
    times = contestant.turn(steps=3 if size.n_latents == TINY["n_latents"] else 20)
    peak = torch.cuda.max_memory_allocated() if size.device != "cpu" else resident("VmHWM") - before
    return {f"{step}_ms": median(taken) for step, taken in times.items()} | {"peak_mb": peak / 1e6}


def profile(size: Size) -> str:
    """Return a table of the operations of our step, those that take longest first."""
    step = train_step.ours(size)["ours"]
    for _ in range(3):
        step()
    with torch.profiler.profile() as profiler:  # of the CPU, and of a GPU if there is one
        for _ in range(3):
            step()
    key = "self_cpu_time_total" if size.device == "cpu" else "self_device_time_total"
    return profiler.key_averages().table(sort_by=key, row_limit=60, max_name_column_width=80)


def list_rows(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row per size and contestant that was measured."""
    rows = []
    for size_name in SIZES:
        size = choose_size(size_name, arguments)
        unavoidable = count_unavoidable(size) / 1e6
        for name in CONTESTANTS:
            found = read(arguments.out / f"step.{size_name}.{name}.json")
            if "peak_mb" not in found:
                continue
            ms = found.get(f"{name}_ms") or sum_floor(found)
            row = {"size": size_name, "step": name, "ms": ms}
            row["tokens_per_second"] = 1000 * size.batch / ms
            rows.append(row | {"peak_mb": found["peak_mb"], "unavoidable_mb": unavoidable})
    return rows


def sum_floor(found: Mapping[str, float]) -> float:
    """Return the milliseconds of the faster product and one pass of Adam."""
    return min(found["gemm_fp32_ms"], found["gemm_bf16_ms"]) + found["adam_ms"]


def read(path: Path) -> dict[str, Any]:
    """Return what a part has written, or nothing."""
    return json.loads(path.read_text()) if path.exists() else {}


if __name__ == "__main__":
    main()
