"""Run commands as a user types them: quickly in this process, or really in their own."""

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# of planted activations a few, of a crosscoder a small one
SMALL = [
    "n_tokens=2000",
    "n_validation=200",
    "n_heldout=500",
    "train_tokens=4000",
    "batch_size=128",
    "n_latents=32",
    "k=3",
    "logger=none",
]


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def here(script: str, *arguments: str) -> Outcome:
    """Run `python SCRIPT ARGUMENTS` in this process, where everything is imported already."""
    code, out, err = 0, io.StringIO(), io.StringIO()
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", [script, *arguments])
        patch.setenv("COLUMNS", "200")
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as end:
            code = end.code
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return Outcome(code, out.getvalue(), err.getvalue())


def start(script: str, *arguments: str, folder: Path, **environment: str) -> subprocess.Popen:
    """Begin `python SCRIPT ARGUMENTS` in a folder."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=folder,
        env=surroundings() | {"COLUMNS": "200"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def surroundings() -> dict[str, str]:
    """Return the environment without this process's W&B service, which children would use."""
    return {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}


def ended(process: subprocess.Popen, timeout: float = 900) -> Outcome:
    """Wait for the end of a process; kill it after `timeout` seconds."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"no end after {timeout} s; its output:\n{out}\n{err}")
    return Outcome(process.returncode, out, err)
