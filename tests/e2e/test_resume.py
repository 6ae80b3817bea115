"""`train.py resume=RUN` after SIGKILL, in processes of their own."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.commands import ended, start

SETTINGS = ["debug=smoke", "train_tokens=120_000", "run=run", "n_tokens=20_000"]


def crosscoder(folder: Path) -> dict[str, bytes]:
    """The files of the saved crosscoder."""
    return {path.name: path.read_bytes() for path in sorted((folder / "run" / "crosscoder").iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, float]:
    """A run without a break, and how long it took."""
    folder, began = tmp_path_factory.mktemp("whole"), time.monotonic()
    outcome = ended(start("train.py", *SETTINGS, folder=folder, CROSSCODER_CACHE=str(folder / "cache")), timeout=300)
    assert outcome.code == 0, outcome.err
    return folder, time.monotonic() - began


@pytest.mark.parametrize("seed", range(int(os.environ.get("CROSSCODER_KILLS", "2"))))
def test_a_run_killed_at_random_moments_ends_as_if_it_had_not_been(whole, tmp_path, seed):
    reference, seconds = whole
    draw = random.Random(seed)
    environment = {"CROSSCODER_CACHE": str(tmp_path / "cache")}
    process = start("train.py", *SETTINGS, folder=tmp_path, **environment)
    for _ in range(2):
        time.sleep(draw.uniform(0.2, 1.0) * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()  # and its pipes are closed
        resumed = ["resume=run"] if (tmp_path / "run" / "config.yaml").exists() else SETTINGS
        process = start("train.py", *resumed, folder=tmp_path, **environment)
    outcome = ended(process, timeout=300)
    assert outcome.code == 0, outcome.err
    ours, theirs = (load_file(folder / "run" / "crosscoder" / "model.safetensors") for folder in (tmp_path, reference))
    for name, tensor in theirs.items():
        assert torch.equal(tensor, ours[name]), name
    assert (tmp_path / "run" / "metrics.json").exists()


def test_a_finished_run_says_so_and_another_run_is_refused(whole):
    folder, _ = whole
    outcome = ended(start("train.py", "resume=run", folder=folder))
    assert outcome.code == 0, outcome.err
    assert "run is finished" in outcome.out
    other = ended(start("train.py", "resume=run", "k=3", folder=folder))
    assert other.code != 0
    assert "k=3 would make it another one" in other.err
    missing = ended(start("train.py", "resume=nowhere", folder=folder))
    assert "no run to resume at nowhere" in missing.err
