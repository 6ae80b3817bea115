"""Where the package is, in a clone or a wheel: its conf folder and the commands that start it."""

import shlex
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
PROJECT = PACKAGE.parent  # the clone, or site-packages


def find_conf() -> Path:
    """Return the folder of the YAML files: beside the package in a clone, within it in a wheel."""
    return PROJECT / "conf" if is_clone() else PACKAGE / "conf"


def is_clone() -> bool:
    """Return whether the package lies in a clone of the repository."""
    return not (PACKAGE / "conf").is_dir()


def name_command(name: str) -> str:
    """Name a command in the form in which the user started this process.

    Args:
        name: Name of the command: "train", "evaluate", "report", "formats" or "explore".

    Returns:
        The console script if the user started one, or if there is no clone; otherwise the script
        in the clone, e.g. "python train.py", or "python -m crosscoder.report".
    """
    program = Path(sys.argv[0])
    if program.name.startswith("crosscoder-"):
        return f"crosscoder-{name}"
    if name in ("report", "formats", "explore"):
        return f"python -m crosscoder.{name}"
    if program.name in ("train.py", "evaluate.py"):
        return f"python {shlex.quote(str(program.with_name(f'{name}.py')))}"
    return f"python {name}.py" if is_clone() else f"crosscoder-{name}"


def name_launch(n_processes: int) -> str:
    """Name the command that starts one training in several processes."""
    command = name_command("train")
    program = command.removeprefix("python ")
    # torchrun starts a Python file, unless it is told that it is given a program
    options = "" if program != command else " --no-python"
    return f"torchrun --nproc-per-node {n_processes}{options} {program}"


def name_install(extra: str) -> str:
    """Name the command that installs an extra of this package."""
    return f'pip install -e ".[{extra}]"' if is_clone() else f'pip install "crosscoder[{extra}]"'
