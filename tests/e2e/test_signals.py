"""Signals to the real commands at random moments: one line, and the same result after resuming."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crosscoder.runtime.signals import EXIT_CODE
from tests.e2e.commands import Outcome, ended, start
from tests.e2e.test_resume import SETTINGS, figures, same_crosscoder, whole  # noqa: F401 (whole is a fixture)

pytestmark = [pytest.mark.faults, pytest.mark.long]

KINDS = ["INT", "TERM", "HUP", "TERM TERM", "INT TERM", "HUP INT TERM", "INT INT INT INT"]


def assert_ended_in_one_line(outcome: Outcome, names: list[str]) -> None:
    """Check that a program ended by one of these signals, or that it was over before one came."""
    if outcome.code == 0:
        assert outcome.err == ""
        return
    assert outcome.code == EXIT_CODE, outcome.err
    assert outcome.err.startswith(tuple(f"stopped by SIG{name}: " for name in names)), outcome.err
    assert len(outcome.err.splitlines()) == 1


def leftovers(folder: Path) -> list[str]:
    """List what is under way and was not deleted."""
    return [
        path.name
        for path in folder.rglob("*")
        if path.name.endswith(".tmp") or path.name.startswith(".crosscoder")
    ]


# CROSSCODER_SIGNALS=70 takes half an hour
@pytest.mark.parametrize("seed", range(int(os.environ.get("CROSSCODER_SIGNALS", "3"))))
def test_a_run_told_to_end_at_a_random_moment_ends_as_if_it_had_not_been(whole, tmp_path, seed):  # noqa: F811
    reference, seconds = whole
    draw = random.Random(seed)
    names = KINDS[(2 * seed + 1) % len(KINDS)].split()
    environment = {"CROSSCODER_CACHE": str(tmp_path / "cache")}
    process = start("train.py", *SETTINGS, folder=tmp_path, **environment)
    time.sleep(draw.uniform(0.2, seconds))
    for name in names:
        if process.poll() is None:
            process.send_signal(getattr(signal, f"SIG{name}"))
        time.sleep(draw.choice([0, 0.001, 0.1]))
    assert_ended_in_one_line(ended(process, timeout=300), names)
    assert not leftovers(tmp_path)
    goes_on = ["resume=run"] if (tmp_path / "run" / "config.yaml").exists() else SETTINGS
    outcome = ended(start("train.py", *goes_on, folder=tmp_path, **environment))
    assert outcome.code == 0, outcome.err
    assert same_crosscoder(tmp_path, reference)
    assert figures(tmp_path) == figures(reference)


@pytest.mark.parametrize("seed", range(2))
def test_an_evaluation_told_to_end_leaves_whole_results(whole, tmp_path, seed):  # noqa: F811
    run = whole[0] / "run"
    environment = {"CROSSCODER_CACHE": str(whole[0] / "cache")}
    process = start(
        "evaluate.py",
        f"crosscoder={run}",
        "eval=[reconstruction,density]",
        folder=tmp_path,
        **environment,
    )
    time.sleep(random.Random(seed).uniform(0.2, whole[1]))
    name = KINDS[seed % 3]
    if process.poll() is None:
        process.send_signal(getattr(signal, f"SIG{name}"))
    assert_ended_in_one_line(ended(process, timeout=300), [name])
    assert not leftovers(run)


@pytest.mark.parametrize("delay", [0.5, 1.5])
def test_a_sweep_of_several_processes_ends_with_all_of_them(tmp_path, delay):
    sweep = [
        "-m",
        "hydra/launcher=joblib",
        "n_latents=32,48",
        "hydra.sweep.dir=sweep",
        "debug=smoke",
        "logger=none",
    ]
    environment = {"CROSSCODER_CACHE": str(tmp_path / "cache")}
    process = start("train.py", *sweep, "train_tokens=20_000_000", folder=tmp_path, **environment)
    began = time.monotonic()
    while (
        not list(tmp_path.glob("sweep/*/checkpoints/last.ckpt")) and time.monotonic() - began < 180
    ):
        time.sleep(0.1)
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)
    outcome = ended(process, timeout=900)
    # joblib's own watcher may warn, after everything has ended, of a folder that joblib did not
    # delete
    said = list(itertools.takewhile(lambda line: "/joblib/" not in line, outcome.err.splitlines()))
    assert_ended_in_one_line(Outcome(outcome.code, outcome.out, "\n".join(said)), ["TERM"])
    for folder in tmp_path.glob("sweep/[01]"):  # nobody is at work on them any more
        assert not (folder / "metrics.json").exists()
        locked = (
            "import sys; from filelock import FileLock; FileLock(sys.argv[1], timeout=0).acquire()"
        )
        subprocess.run([sys.executable, "-c", locked, str(folder / ".lock")], check=True)
