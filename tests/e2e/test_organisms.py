"""`organism=NAME` trains and evaluates each organism with few tokens, on the real Gemma."""

import os
from pathlib import Path

import pytest

from crosscoder.evals import Result
from crosscoder.organisms.organism import list_organisms, load_organism
from tests.e2e.commands import ended, start

CACHE = str(
    Path(os.environ.get("CROSSCODER_CACHE", "~/.cache/crosscoder")).expanduser()
)  # the user's, before any fixture
FEW = [
    "n_tokens=2048",
    "n_validation=512",
    "n_heldout=1024",
    "train_tokens=20_000",
    "batch_size=512",
    "n_latents=128",
    "logger=none",
    "run=run",
]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", list_organisms())
def test_an_organism_is_trained_and_asked(name, tmp_path):
    stores = f"harvest.root={tmp_path / 'stores'}"
    training = ["train.py", f"organism={name}", *FEW, stores]
    outcome = ended(start(*training, folder=tmp_path, CROSSCODER_CACHE=CACHE), timeout=1200)
    assert outcome.code == 0, outcome.err
    asked = ["eval=[behaviour]", "eval.behaviour.n_questions=1", "eval.behaviour.max_new_tokens=8"]
    evaluation = ["evaluate.py", "crosscoder=run", *asked]
    outcome = ended(start(*evaluation, folder=tmp_path, CROSSCODER_CACHE=CACHE), timeout=1200)
    assert outcome.code == 0, outcome.err
    result = Result.load(tmp_path / "run" / "results" / "behaviour.json")
    marker = load_organism(name).marker_name
    assert any(figure.startswith(f"{marker}_rate/") for figure in result.scalars)


@pytest.mark.parametrize("name", list_organisms())
def test_an_adapter_is_small(name):
    weights = load_organism(name).adapter / "adapter_model.safetensors"
    assert weights.stat().st_size < 4_000_000
