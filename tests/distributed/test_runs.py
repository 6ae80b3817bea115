"""`torchrun … train.py`: several processes give the store and crosscoder of a single one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.commands import ROOT, Outcome, ended, start, surroundings

pytestmark = [pytest.mark.distributed, pytest.mark.long]

# a difference in the last bit can select another latent, and the difference grows; in fp32, at a
# small learning rate, this does not happen here
TIGHT = {"CROSSCODER_KERNELS": "reference", "OMP_NUM_THREADS": "1"}
SMOKE = [
    "debug=smoke",
    "train_tokens=60_000",
    "run=run",
    "eval=[]",
    "trainer.log_every_n_steps=5",
    "lr=5e-4",
]
TINY = [
    *(
        "models=tiny",
        "n_tokens=8000",
        "n_validation=2000",
        "n_heldout=2000",
        "train_tokens=16_000",
        "batch_size=512",
    ),
    *("n_latents=64", "k=4", "logger=none", "harvest.shard_tokens=1024", "run=run", "eval=[]"),
]


def torchrun(n: int, *arguments: str, folder: Path, **environment: str) -> subprocess.Popen:
    """Start `torchrun --nproc-per-node N train.py ARGUMENTS` in a folder."""
    folder.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(n),
    ]
    variables = {"COLUMNS": "200", "CROSSCODER_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [*command, str(ROOT / "train.py"), *arguments],
        cwd=folder,
        env=surroundings() | variables | TIGHT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def alone(*arguments: str, folder: Path, **environment: str) -> Outcome:
    folder.mkdir(exist_ok=True)
    variables = TIGHT | {"CROSSCODER_CACHE": str(folder / "cache")} | environment
    return ended(start("train.py", *arguments, folder=folder, **variables))


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, for two minutes at most."""
    start_time = time.monotonic()
    while not condition() and time.monotonic() - start_time < 120:
        time.sleep(0.05)


def curve(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "run" / "curves.json").read_text())


def same_curves(one: Path, other: Path, tolerance: float = 1e-4) -> None:
    ours, theirs = curve(one), curve(other)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a == {
            key: pytest.approx(value, rel=tolerance, abs=tolerance) for key, value in b.items()
        }


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> Path:
    """Run one process."""
    folder = tmp_path_factory.mktemp("single")
    outcome = alone(*SMOKE, folder=folder)
    assert outcome.code == 0, outcome.err
    return folder


@pytest.mark.parametrize(
    ("n", "parallel"), [(2, "tokens"), (4, "tokens"), (2, "latents"), (4, "latents")]
)
def test_the_loss_curve_and_the_crosscoder_are_those_of_one_process(single, tmp_path, n, parallel):
    outcome = ended(torchrun(n, *SMOKE, f"parallel={parallel}", folder=tmp_path), timeout=600)
    assert outcome.code == 0, outcome.err
    same_curves(single, tmp_path)
    ours = load_file(tmp_path / "run" / "crosscoder" / "model.safetensors")
    theirs = load_file(single / "run" / "crosscoder" / "model.safetensors")
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-2, atol=1e-3, msg=name)


def test_processes_harvest_one_store_bit_for_bit_that_of_one(tmp_path):
    together = ended(torchrun(2, *TINY, "stage=harvest", folder=tmp_path / "two"), timeout=900)
    assert together.code == 0, together.err
    assert alone(*TINY, "stage=harvest", folder=tmp_path / "one").code == 0
    for file in sorted((tmp_path / "one" / "cache").rglob("*")):
        other = tmp_path / "two" / file.relative_to(tmp_path / "one")
        assert file.is_dir() or other.read_bytes() == file.read_bytes(), file
    assert "harvested in" in together.out


def test_the_rest_of_a_dead_process_is_harvested_by_one_other(tmp_path):
    tiny = [*TINY, "stage=harvest", "n_tokens=40_000"]
    process = torchrun(2, *tiny, folder=tmp_path)
    wait_for(lambda: bool(list((tmp_path / "cache").rglob("00001.*.safetensors"))))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    written = {
        file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.safetensors")
    }
    outcome = alone(*tiny, folder=tmp_path)
    assert outcome.code == 0, outcome.err
    kept = [file for file, time_ns in written.items() if file.stat().st_mtime_ns == time_ns]
    # only shards that were not yet in meta.json were harvested again
    assert len(kept) >= len(written) - 2


@pytest.mark.faults
def test_two_runs_on_one_store_at_once_share_the_work(tmp_path):
    tiny = [*TINY, "stage=harvest", "n_tokens=40_000"]
    cache = str(tmp_path / "cache")
    runs = [
        start("train.py", *tiny[:-1], f"run={name}", folder=tmp_path, CROSSCODER_CACHE=cache)
        for name in ("a", "b")
    ]
    outcomes = [ended(run) for run in runs]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    (folder,) = [
        path
        for path in (tmp_path / "cache" / "stores").iterdir()
        if len(list(path.glob("*.base.*"))) > 4
    ]
    meta = json.loads((folder / "meta.json").read_text())
    assert all(checksum for entry in meta["sources"].values() for checksum in entry["checksums"])
    # the store can be trained on
    assert alone(*TINY, folder=tmp_path, CROSSCODER_CACHE=cache).code == 0


@pytest.mark.parametrize("parallel", ["tokens", "latents"])
def test_a_killed_distributed_run_resumes_with_another_number_of_processes(
    single, tmp_path, parallel
):
    draw = random.Random(0)
    process = torchrun(2, *SMOKE, f"parallel={parallel}", folder=tmp_path)
    wait_for(lambda: (tmp_path / "run" / "checkpoints" / "last.ckpt").exists())
    time.sleep(draw.uniform(0.0, 1.0))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    outcome = ended(torchrun(4, "resume=run", folder=tmp_path), timeout=900)
    assert outcome.code == 0, outcome.err
    same_curves(single, tmp_path)


def test_a_batch_that_cannot_be_divided_is_refused_in_one_line(tmp_path):
    outcome = ended(torchrun(2, *SMOKE, "batch_size=511", folder=tmp_path), timeout=900)
    assert outcome.code != 0
    assert "batch_size=511 cannot be split evenly over 2 processes" in outcome.err


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_several_terminated_processes_leave_one_checkpoint_and_one_line(single, tmp_path, number):
    process = torchrun(2, *SMOKE, "train_tokens=20_000_000", folder=tmp_path)
    wait_for(lambda: (tmp_path / "run" / "checkpoints" / "last.ckpt").exists())
    os.killpg(process.pid, number)  # torchrun sends it once more
    outcome = ended(process, timeout=900)
    (said,) = [line for line in outcome.err.splitlines() if line.startswith("stopped")]
    assert said.startswith(f"stopped by {number.name}: step ")
    assert "train.py" not in outcome.err  # the only traceback is torchrun's own
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
