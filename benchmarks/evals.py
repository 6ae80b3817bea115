"""CPU and wall time of evals of a trained run, each in a process of its own.

Starting Python and loading the crosscoder and the models is included. The evals run on a copy of
the run, so that none finds the results of another.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import arguments, report

SCRIPT = Path(__file__).parents[1] / "evaluate.py"


def time_eval(run: Path, name: str, settings: list[str]) -> dict[str, str | float]:
    """Return the row of one eval."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "run"
        shutil.copytree(run, copy)
        command = [sys.executable, SCRIPT, f"crosscoder={copy}", f"eval=[{name}]", *settings]
        before = os.times()
        start = time.perf_counter()
        subprocess.run(command, check=True)
        wall = time.perf_counter() - start
        after = os.times()
    user = after.children_user - before.children_user
    system = after.children_system - before.children_system
    return {"eval": name, "cpu_seconds": user + system, "wall_seconds": wall}


def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        run={"type": Path, "required": True, "help": "folder of a trained run"},
        evals={
            "nargs": "+",
            "default": ["behaviour", "ablation", "steering", "patching"],
            "help": "names of evals",
        },
        settings={"nargs": "*", "default": [], "help": "settings of evaluate.py, KEY=VALUE"},
    )
    rows = []
    for name in args.evals:
        own = [one for one in args.settings if is_setting_of(one, name)]
        rows.append(time_eval(args.run, name, own))
    report("time of evals", rows, args.json, args.device)


def is_setting_of(setting: str, name: str) -> bool:
    """Return whether a setting belongs to an eval, or to none in particular."""
    return not setting.startswith("eval.") or setting.startswith(f"eval.{name}.")


if __name__ == "__main__":
    main()
