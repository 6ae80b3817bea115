"""`train.py resume=RUN` after SIGKILL and SIGTERM, in processes of their own."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.commands import SMALL, ended, start
from tests.helpers.small import whole_shards

pytestmark = pytest.mark.faults

SETTINGS = ["debug=smoke", "train_tokens=120_000", "run=run", "n_tokens=20_000"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, float]:
    """Finish a run without interruption, and return its duration too."""
    folder, began = tmp_path_factory.mktemp("whole"), time.monotonic()
    outcome = ended(
        start("train.py", *SETTINGS, folder=folder, CROSSCODER_CACHE=str(folder / "cache")),
        timeout=900,
    )
    assert outcome.code == 0, outcome.err
    return folder, time.monotonic() - began


def figures(folder: Path) -> tuple[dict, list]:
    """Read metrics.json and curves.json without times and hashes of folder names."""
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    for key in ("harvest_seconds", "train_seconds", "tokens_per_second", "crosscoder_sha256"):
        del metrics[key]
    return metrics, json.loads((folder / "run" / "curves.json").read_text())


def same_crosscoder(folder: Path, reference: Path) -> bool:
    """Whether their runs ended with the same, bit for bit."""
    ours, theirs = (
        load_file(one / "run" / "crosscoder" / "model.safetensors") for one in (folder, reference)
    )
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name]) for name in theirs
    )


@pytest.mark.parametrize("seed", range(int(os.environ.get("CROSSCODER_KILLS", "1"))))
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
    outcome = ended(process, timeout=900)
    assert outcome.code == 0, outcome.err
    assert same_crosscoder(tmp_path, reference)
    assert figures(tmp_path) == figures(reference)


# Python tells of every file it renames; at the last of these, one after the other, the process is
# gone
KILLED = """
import os, signal, sys
awaited = os.environ["KILLED_AT"].split(" then ")
def heard(event, arguments):
    if event == "os.rename" and os.fspath(arguments[1]).endswith(awaited[0]):
        if len(awaited) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        del awaited[0]
sys.addaudithook(heard)
"""
MOMENTS = [
    "00001.base.safetensors",  # of a shard: written aside, not there yet
    "00001.chat.safetensors then meta.json",  # there, not entered yet
    "last.ckpt",  # of the first checkpoint: written aside
    "previous.ckpt then last.ckpt",  # of the second: the first has made way for it
    "crosscoder/config.json",  # of the crosscoder: weights are there, their description is not
    "results/reconstruction.json",  # of the evaluation: done, not written
]


@pytest.mark.long
def test_a_run_killed_at_every_delicate_moment_ends_as_if_it_had_not_been(tmp_path):
    text = tmp_path / "lines.jsonl"
    text.write_text(
        "".join(json.dumps({"text": f"{i} squared is {i * i}. " * 8}) + "\n" for i in range(200))
    )
    data = [
        "models=tiny",
        "data=files",
        f"data.corpora.0.paths=[{text}]",
        "data.seq_len=64",
        "harvest.shard_tokens=512",
    ]
    settings = [*data, *SMALL, "train_tokens=40_000", "run=run"]
    (tmp_path / "sitecustomize.py").write_text(KILLED)
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    killed = {"CROSSCODER_CACHE": str(folders[1] / "cache"), "PYTHONPATH": str(tmp_path)}
    shards, request = {}, settings
    for moment in MOMENTS:
        outcome = ended(start("train.py", *request, folder=folders[1], KILLED_AT=moment, **killed))
        assert outcome.code == -signal.SIGKILL, (
            moment,
            outcome.out,
            outcome.err,
        )  # the moment came
        for aside in folders[1].rglob("*.tmp"):  # as if it had got only so far
            os.truncate(aside, aside.stat().st_size // 2)
        now = whole_shards(folders[1] / "cache" / "stores")
        assert {path: now[path] for path in shards} == shards  # nothing is harvested twice
        shards, request = now, ["resume=run"]
    whole = start(
        "train.py", *settings, folder=folders[0], CROSSCODER_CACHE=str(folders[0] / "cache")
    )
    resumed = start("train.py", "resume=run", folder=folders[1], **killed, KILLED_AT="nowhere")
    for process in (whole, resumed):
        outcome = ended(process)
        assert outcome.code == 0, outcome.err
    assert same_crosscoder(*folders)
    assert figures(folders[0]) == figures(folders[1])
    assert whole_shards(folders[1] / "cache" / "stores") == shards
    assert len(shards) == len(whole_shards(folders[0] / "cache" / "stores"))


def test_a_run_that_is_told_to_end_goes_on_later(whole, tmp_path):
    environment = {"CROSSCODER_CACHE": str(tmp_path / "cache")}
    process = start("train.py", *SETTINGS, folder=tmp_path, **environment)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    began = time.monotonic()
    while not checkpoint.exists() and process.poll() is None and time.monotonic() - began < 120:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)  # twice: a second one does not cost the checkpoint
    process.send_signal(signal.SIGTERM)
    outcome = ended(process)
    assert outcome.code == 130, (outcome.out, outcome.err)
    assert outcome.err.startswith("stopped by SIGTERM: step ")
    assert len(outcome.err.splitlines()) == 1
    # a signal that comes while the first checkpoint is written ends the run after that step
    assert 1 <= torch.load(checkpoint, weights_only=True)["global_step"] < 120_000 // 512
    assert not (tmp_path / "run" / "crosscoder").exists()
    resumed = ended(start("train.py", "resume=run", folder=tmp_path, **environment))
    assert resumed.code == 0, resumed.err
    assert same_crosscoder(tmp_path, whole[0])
    assert figures(tmp_path) == figures(whole[0])


def test_a_run_that_is_still_running_is_not_resumed(tmp_path):
    environment = {"CROSSCODER_CACHE": str(tmp_path / "cache")}
    process = start(
        "train.py", *SETTINGS, "train_tokens=10_000_000", folder=tmp_path, **environment
    )
    began = time.monotonic()
    while not (tmp_path / "run" / "checkpoints").exists() and time.monotonic() - began < 120:
        time.sleep(0.02)
    other = ended(start("train.py", "resume=run", folder=tmp_path, **environment))
    assert other.code != 0
    assert "another process works on run" in other.err
    assert process.poll() is None  # and that one is not disturbed
    process.kill()
    process.communicate()


def test_a_finished_run_says_so_and_another_run_is_refused(whole):
    folder, _ = whole
    outcome = ended(start("train.py", "resume=run", folder=folder))
    assert outcome.code == 0, outcome.err
    assert "run is finished" in outcome.out
    other = ended(start("train.py", "resume=run", "k=3", folder=folder))
    assert other.code != 0
    assert "cannot combine resume= with other overrides (k=3)" in other.err
    missing = ended(start("train.py", "resume=nowhere", folder=folder))
    assert "no run to resume at nowhere" in missing.err
