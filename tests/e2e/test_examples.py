"""Every file of examples/ runs at a tiny size, and is short."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crosscoder import Crosscoder, LatentTable, load
from tests.e2e.commands import ROOT, surroundings
from tests.unit.formats.folders import write_folder

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return the folder in which all examples run, one after the other."""
    return tmp_path_factory.mktemp("examples")


def run(folder: Path, name: str, *arguments: str | Path) -> str:
    """Run an example as its reader does; return what it prints."""
    start = [str(EXAMPLES / name)] if name.endswith(".sh") else [sys.executable, EXAMPLES / name]
    environment = surroundings() | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [*start, *arguments], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_it_is_short_and_tested_here(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert "It takes" in text
    assert f'"{path.name}"' in Path(__file__).read_text(encoding="utf-8")


def test_a_planted_world(folder):
    out = run(folder, "train_planted.py", "--train-tokens", "50000")
    assert "found/chat_only: " in out
    assert "verdict" in out
    assert Crosscoder.from_pretrained(folder / "outputs" / "train_planted").n_latents == 128


def test_without_hydra_twice(folder):
    for _ in range(2):  # the second time, the stores exist
        out = run(folder, "train_without_hydra.py", "--train-tokens", "200000")
    assert "LatentTable: " in out
    stored = Crosscoder.from_pretrained(folder / "outputs" / "train_without_hydra")
    assert stored.sources.diff_pair == ("chat", "base")


def test_an_activation_of_ones_own(folder):
    out = run(folder, "own_activation.py")
    assert "AboveThreshold(threshold=0.1), reads raw activations" in out


def test_two_models_are_compared_and_latents_ablated(folder):
    text = folder / "lines.jsonl"
    lines = [f'{{"text": "Line {i} says that {i} times {i} is {i * i}."}}\n' for i in range(900)]
    text.write_text("".join(lines))
    sizes = ("--n-tokens", "2000", "--n-latents", "64")
    out = run(folder, "diff_two_models.py", "--pair", "tiny", "--text", text, *sizes)
    assert "LatentTable: 10 rows" in out
    outputs = folder / "outputs" / "diff_two_models"
    table = LatentTable.load(outputs / "results" / "latents.parquet")
    assert len(table) == 64

    chosen = run(folder, "ablate_and_generate.py", "--pairs", "4")
    assert "without an edit:" in chosen
    named = run(folder, "ablate_and_generate.py", "outputs/diff_two_models", "--latents", "3", "5")
    assert "without [3, 5]:" in named


def test_a_released_dictionary(folder):
    write_folder("gemma_scope", folder / "released")
    out = run(folder, "load_released.py", folder / "released", "--export", "exported")
    assert "layout: gemma_scope" in out
    assert load(folder / "exported").n_latents == load(folder / "released").n_latents


def test_a_sweep(folder):
    sizes = ("n_tokens=2000", "n_validation=200", "n_heldout=500", "train_tokens=4000")
    here = (f"hydra.sweep.dir={folder / 'sweep'}", f"harvest.root={folder / 'stores'}")
    out = run(folder, "sweep.sh", *sizes, *here, "n_latents=32", "k=3,4", "lr=1e-3")
    assert (folder / "sweep" / "pareto.html").exists(), out
