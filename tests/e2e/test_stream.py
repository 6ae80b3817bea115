"""`train.py data.mode=stream`: no store of training tokens, resuming, and several processes."""

import json
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed.test_runs import torchrun
from tests.e2e.commands import ended, here, start

SETTINGS = [
    "models=tiny",
    "data.mode=stream",
    "data.buffer_tokens=8000",
    "data.sample_tokens=2000",
    "n_tokens=30_000",
    "n_validation=2000",
    "n_heldout=2000",
    "train_tokens=120_000",
    "batch_size=512",
    "n_latents=64",
    "k=4",
    "logger=none",
    "run=run",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Train a run without interruption; return its folder."""
    folder = tmp_path_factory.mktemp("whole")
    outcome = ended(
        start("train.py", *SETTINGS, folder=folder, CROSSCODER_CACHE=str(folder / "cache"))
    )
    assert outcome.code == 0, outcome.err
    return folder


def test_only_a_sample_is_stored_and_evals_that_train_are_refused(whole):
    config = json.loads((whole / "run" / "crosscoder" / "config.json").read_text())
    assert config["provenance"]["train"] is None
    stores = [
        json.loads(meta.read_text()) for meta in (whole / "cache" / "stores").glob("*/meta.json")
    ]
    assert sorted(sum(store["counts"]) for store in stores) == [2048, 2048, 2048]
    assert (
        json.loads((whole / "run" / "metrics.json").read_text())["train_tokens"]
        == 120_000 // 512 * 512
    )
    outcome = here("evaluate.py", f"crosscoder={whole / 'run'}", "eval=nulls")
    assert outcome.code != 0
    assert "was trained on a stream of activations, which was not kept" in outcome.err


@pytest.mark.faults
def test_a_killed_stream_resumes_to_the_same_crosscoder(whole, tmp_path):
    environment = {"CROSSCODER_CACHE": str(tmp_path / "cache")}
    process = start("train.py", *SETTINGS, folder=tmp_path, **environment)
    began = time.monotonic()
    while (
        not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
        and time.monotonic() - began < 120
    ):
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    outcome = ended(start("train.py", "resume=run", folder=tmp_path, **environment))
    assert outcome.code == 0, outcome.err
    ours, theirs = (
        load_file(at / "run" / "crosscoder" / "model.safetensors") for at in (tmp_path, whole)
    )
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.parametrize("repeat", [False, True])
def test_a_text_that_ends_before_n_tokens_yields_a_crosscoder(tmp_path, monkeypatch, repeat):
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "lines.jsonl"
    rows = [
        {"text": None} if i % 50 == 7 else {"text": f"{i} squared is {i * i}. " * 4}
        for i in range(300)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = [
        "models=tiny",
        "data=files",
        f"data.corpora.0.paths=[{path}]",
        "data.seq_len=64",
        f"data.repeat={repeat}",
    ]
    sizes = [
        "n_tokens=1_000_000",
        "n_validation=200",
        "n_heldout=500",
        "train_tokens=40_000",
        "batch_size=128",
    ]
    stream = ["data.mode=stream", "data.buffer_tokens=4000", "data.sample_tokens=2000"]
    outcome = here(
        "train.py",
        *text,
        *sizes,
        *stream,
        "n_latents=32",
        "k=3",
        "logger=none",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert outcome.code == 0, outcome.err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    if repeat:
        assert metrics["train_tokens"] == 40_000 // 128 * 128
        assert "it begins again" in outcome.out
    else:
        assert 10_000 < metrics["train_tokens"] < 40_000
        assert "the training data end after step" in outcome.out
    assert "rows were left out" in outcome.out
    assert (tmp_path / "run" / "crosscoder" / "model.safetensors").exists()


@pytest.mark.long
@pytest.mark.distributed
@pytest.mark.parametrize("parallel", ["tokens", "latents"])
def test_several_processes_train_on_a_stream(whole, tmp_path, parallel):
    outcome = ended(torchrun(2, *SETTINGS, f"parallel={parallel}", folder=tmp_path))
    assert outcome.code == 0, outcome.err
    ours, theirs = (
        json.loads((at / "run" / "metrics.json").read_text()) for at in (tmp_path, whole)
    )
    assert ours["train_tokens"] == theirs["train_tokens"]
    assert ours["fve/base"] == pytest.approx(theirs["fve/base"], abs=0.05)
