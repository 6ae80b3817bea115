"""`train.py` in a process of its own: the smoke run, a sweep, Ctrl-C."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch

from crosscoder.core.model import Crosscoder
from tests.e2e.commands import SMALL, Outcome, ended, start

METRICS = {
    *(
        "fve/base",
        "fve/chat",
        "fve_standardised/base",
        "fve_standardised/chat",
        "fve/difference",
        "l0",
        "dead_fraction",
    ),
    *(
        "n_latents",
        "n_tokens",
        "train_seconds",
        "harvest_seconds",
        "tokens_per_second",
        "loss",
        "tokens_sha256",
    ),
}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Outcome, Path]:
    """`python train.py debug=smoke` in an empty folder, and the run folder it made there."""
    folder = tmp_path_factory.mktemp("smoke")
    outcome = ended(start("train.py", "debug=smoke", folder=folder))
    assert outcome.code == 0, outcome.err
    (run,) = (folder / "outputs").iterdir()
    return outcome, run


def test_a_run_folder_is_as_designed(smoke):
    _, run = smoke
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == {
        ".lock",
        "config.yaml",
        "identity.json",
        "curves.json",
        "metrics.json",
        "checkpoints/last.ckpt",
        "crosscoder/config.json",
        "crosscoder/model.safetensors",
        "results/reconstruction.json",
    }


def test_metrics_are_all_there_and_good(smoke):
    metrics = json.loads((smoke[1] / "metrics.json").read_text())
    assert set(metrics) >= METRICS
    assert metrics["n_latents"] == 256
    assert metrics["l0"] == pytest.approx(6, rel=0.1)
    assert min(metrics["fve/base"], metrics["fve/chat"]) > 0.6
    assert metrics["fve/difference"] > 0.4


def test_the_closing_table_shows_the_metrics_and_where_files_are(smoke):
    outcome, run = smoke
    metrics = json.loads((run / "metrics.json").read_text())
    for key in ("fve/base", "fve/chat", "fve/difference", "l0", "dead_fraction"):
        assert f"{metrics[key]:.4f}" in outcome.out, key
    for words in ("Minder 2025", "Mishra-Sharma 2025", run.name, "evaluate.py crosscoder="):
        assert words in outcome.out
    assert "Traceback" not in outcome.err
    assert "Warning" not in outcome.err


def test_the_crosscoder_loads_without_anything_else(smoke):
    crosscoder = Crosscoder.from_pretrained(smoke[1])
    assert crosscoder.n_latents == 256
    assert crosscoder.encode(torch.randn(5, 128)).n_latents == 256


def test_a_sweep_harvests_once_and_ends_with_one_table(tmp_path):
    (tmp_path / "text.jsonl").write_text(
        "".join(f'{{"text": "Line {i} of some text."}}\n' for i in range(600))
    )
    sweep = ["-m", "n_latents=32,64", "activation=topk,batch_topk"]
    data = ["models=tiny", "data=files", f"data.corpora.0.paths=[{tmp_path / 'text.jsonl'}]"]
    small = [setting for setting in SMALL if not setting.startswith("n_latents")]
    outcome = ended(
        start(
            "train.py",
            *sweep,
            *data,
            *small,
            folder=tmp_path,
            CROSSCODER_CACHE=str(tmp_path / "cache"),
        )
    )
    assert outcome.code == 0, outcome.err
    (folder,) = (tmp_path / "outputs").iterdir()
    rows = json.loads((folder / "sweep.json").read_text())
    varied = [(row["n_latents"], row["activation._target_"].rpartition(".")[2]) for row in rows]
    assert varied == [(32, "TopK"), (32, "BatchTopK"), (64, "TopK"), (64, "BatchTopK")]
    assert "Sweep of 4 runs" in outcome.out
    assert len({row["fve/chat"] for row in rows}) == 4

    shards = list((tmp_path / "cache" / "stores").glob("*/*.safetensors"))
    assert {path.parent.name for path in shards} == {
        path.name for path in (tmp_path / "cache" / "stores").iterdir()
    }
    assert len({path.parent for path in shards}) == 3  # train, validation, held-out
    first_run_done = (folder / "0" / "metrics.json").stat().st_mtime
    assert max(path.stat().st_mtime for path in shards) < first_run_done


@pytest.mark.faults
def test_ctrl_c_leaves_a_checkpoint_and_no_traceback(tmp_path):
    process = start(
        "train.py", "debug=smoke", "train_tokens=100_000_000", "hydra.run.dir=run", folder=tmp_path
    )
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    waited = time.monotonic()
    while not checkpoint.exists() and process.poll() is None and time.monotonic() - waited < 120:
        time.sleep(0.1)
    first = checkpoint.stat().st_mtime_ns
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    outcome = ended(process, timeout=900)
    assert outcome.code == 130, outcome.err
    assert "Traceback" not in outcome.err
    assert str(Path("checkpoints") / "last.ckpt") in outcome.out + outcome.err
    assert checkpoint.stat().st_mtime_ns > first
    assert torch.load(checkpoint, weights_only=True)["global_step"] > 1
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_an_sae_of_the_difference_trains_on_the_store_of_both_and_is_evaluated(tmp_path):
    run = tmp_path / "run"
    trained = ended(
        start("train.py", "debug=smoke", "sources=[chat-base]", f"run={run}", folder=tmp_path)
    )
    assert trained.code == 0, trained.err
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["fve/chat-base"] > 0
    assert Crosscoder.from_pretrained(run).sources.names == ("chat-base",)
    evaluated = ended(start("evaluate.py", f"crosscoder={run}", folder=tmp_path))
    assert evaluated.code == 0, evaluated.err
    assert (run / "report.html").exists()
