"""`train.py data.mode=stream`: no store of the training tokens; killed, it goes on; by several processes, too."""

import json
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed.test_runs import torchrun
from tests.e2e.commands import ended, here, start

SETTINGS = [
    *("models=tiny", "data.mode=stream", "data.buffer_tokens=8000", "data.sample_tokens=2000", "n_tokens=30_000"),
    *("n_validation=2000", "n_heldout=2000", "train_tokens=120_000", "batch_size=512", "n_latents=64", "k=4"),
    *("logger=none", "run=run"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without a break."""
    folder = tmp_path_factory.mktemp("whole")
    outcome = ended(start("train.py", *SETTINGS, folder=folder, CROSSCODER_CACHE=str(folder / "cache")))
    assert outcome.code == 0, outcome.err
    return folder


def test_only_a_sample_is_stored_and_evaluation_leaves_out_what_trains_others(whole):
    config = json.loads((whole / "run" / "crosscoder" / "config.json").read_text())
    assert config["provenance"]["train"] is None
    stores = [json.loads(meta.read_text()) for meta in (whole / "cache" / "stores").glob("*/meta.json")]
    assert sorted(sum(store["counts"]) for store in stores) == [2048, 2048, 2048]
    assert json.loads((whole / "run" / "metrics.json").read_text())["train_tokens"] == 120_000 // 512 * 512
    outcome = here("evaluate.py", f"crosscoder={whole / 'run'}", "eval=nulls")
    assert outcome.code != 0
    assert "was trained on a stream, which is gone" in outcome.err


@pytest.mark.faults
def test_a_killed_stream_goes_on_to_the_same_crosscoder(whole, tmp_path):
    environment = {"CROSSCODER_CACHE": str(tmp_path / "cache")}
    process = start("train.py", *SETTINGS, folder=tmp_path, **environment)
    began = time.monotonic()
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists() and time.monotonic() - began < 120:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    outcome = ended(start("train.py", "resume=run", folder=tmp_path, **environment))
    assert outcome.code == 0, outcome.err
    ours, theirs = (load_file(at / "run" / "crosscoder" / "model.safetensors") for at in (tmp_path, whole))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.long
@pytest.mark.distributed
@pytest.mark.parametrize("share", ["tokens", "latents"])
def test_several_processes_stream(whole, tmp_path, share):
    outcome = ended(torchrun(2, *SETTINGS, f"share={share}", folder=tmp_path))
    assert outcome.code == 0, outcome.err
    ours, theirs = (json.loads((at / "run" / "metrics.json").read_text()) for at in (tmp_path, whole))
    assert ours["train_tokens"] == theirs["train_tokens"]
    assert ours["fve/base"] == pytest.approx(theirs["fve/base"], abs=0.05)
