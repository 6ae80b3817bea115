"""Full and read-only disks: one line names the file, and the same command continues."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import lightning as L
import pytest
import torch
from safetensors.torch import load_file

from crosscoder.core.model import Crosscoder
from crosscoder.data import Store
from crosscoder.training.checkpoints import find_checkpoint
from tests.e2e.commands import SMALL, Outcome, here
from tests.helpers.disks import Disk, small_disk
from tests.helpers.small import whole_shards

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("unchecked")]


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def ends(outcome: Outcome, *words: str) -> None:
    """In one line with these words."""
    assert outcome.code == 1, (outcome.code, outcome.out, outcome.err)
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in outcome.out + outcome.err
    for word in words:
        assert word in line


@pytest.fixture
def harvest(disk, tmp_path) -> Callable[..., Outcome]:
    """Harvest about 2,000 tokens of the tiny pair (0.6 MB), to the disk or to another folder."""
    text = tmp_path / "lines.jsonl"
    text.write_text(
        "".join(json.dumps({"text": f"{i} squared is {i * i}. " * 8}) + "\n" for i in range(200))
    )

    def run(*settings: str, root: Path = disk.folder / "stores") -> Outcome:
        data = [
            "models=tiny",
            "data=files",
            f"data.corpora.0.paths=[{text}]",
            "data.seq_len=64",
            *SMALL,
        ]
        store = [f"harvest.root={root}", "harvest.batch_tokens=256", "harvest.shard_tokens=256"]
        return here(
            "train.py", *data, *store, *(settings or ("stage=harvest",)), f"run={tmp_path / 'run'}"
        )

    return run


@pytest.mark.parametrize("trouble", [Disk.fill, Disk.lock], ids=["full", "read-only"])
def test_a_disk_that_fills_up_while_harvesting(disk, harvest, monkeypatch, trouble):
    write, written = Store.write, []

    def then_trouble(store, shard, column, *more, **options) -> None:
        write(store, shard, column, *more, **options)
        written.append(column)
        if written.count("base") == 3:
            trouble(disk)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", then_trouble)
        ends(harvest(), "cannot write", "No space left" if trouble is Disk.fill else "Read-only")
    kept = whole_shards(disk.folder / "stores")
    assert sum(".base." in path.name for path in kept) == 3
    disk.unlock()
    disk.empty()
    assert not list(disk.folder.rglob("*.tmp"))
    outcome = harvest()
    assert outcome.code == 0, outcome.err
    now = whole_shards(disk.folder / "stores")
    assert all(
        Store(meta.parent).is_complete("chat") for meta in disk.folder.glob("stores/*/meta.json")
    )
    assert {path: now[path] for path in kept} == kept


@pytest.fixture
def train(disk, tmp_path) -> Callable[..., Outcome]:
    """Train on planted activations with a run folder on the disk, unless another is named."""

    def run(*settings: str, folder: Path = disk.folder / "run") -> Outcome:
        given = settings or (
            "debug=smoke",
            *SMALL,
            f"run={folder}",
            f"harvest.root={tmp_path / 'stores'}",
        )
        return here("train.py", *given)

    return run


@pytest.mark.parametrize("trouble", [Disk.fill, Disk.lock], ids=["full", "read-only"])
@pytest.mark.parametrize("at", ["checkpoint", "crosscoder"])
def test_a_disk_that_fills_up_while_training(disk, train, tmp_path, monkeypatch, trouble, at):
    reference = train(folder=tmp_path / "reference")
    assert reference.code == 0, reference.err
    run = disk.folder / "run"
    owner, name = {
        "checkpoint": (L.Trainer, "save_checkpoint"),
        "crosscoder": (Crosscoder, "save_pretrained"),
    }[at]
    save = getattr(owner, name)

    def in_trouble(self, path, *more) -> object:
        if (
            at == "crosscoder" or (run / "checkpoints" / "last.ckpt").exists()
        ):  # the second checkpoint
            trouble(disk)
        return save(self, path, *more)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, in_trouble)
        ends(train(), "cannot write", f"{run}/checkpoints/last." if at == "checkpoint" else "kept")
    checkpoint = find_checkpoint(run / "checkpoints")
    assert checkpoint == run / "checkpoints" / "last.ckpt"
    step = torch.load(checkpoint, weights_only=True)["global_step"]
    assert step == (1 if at == "checkpoint" else 31)
    assert not list(run.rglob("*.tmp"))
    assert not (run / "metrics.json").exists()
    disk.unlock()
    disk.empty()
    outcome = train(f"resume={run}")
    assert outcome.code == 0, outcome.err
    ours, theirs = (
        load_file(folder / "crosscoder" / "model.safetensors")
        for folder in (run, tmp_path / "reference")
    )
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert (run / "metrics.json").exists()


def test_a_read_only_run_folder_is_named(disk, train):
    disk.lock()
    ends(train(), "cannot write", f"{disk.folder}/run", "Read-only file system")


def test_a_read_only_store_folder_is_named(disk, harvest):
    disk.lock()
    ends(harvest(), "cannot write", f"{disk.folder}/stores", "Read-only file system")


def test_a_complete_store_in_a_read_only_folder_serves(disk, harvest):
    assert harvest().code == 0
    disk.lock()
    outcome = harvest("stage=all")
    assert outcome.code == 0, outcome.err
