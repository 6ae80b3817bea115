"""The main job on the real pair with few tokens. Gemma is converted once, if needed."""

import json
import os
from pathlib import Path

import pytest

from crosscoder.evals import Result
from tests.e2e.commands import Outcome, ended, start

CACHE = str(
    Path(os.environ.get("CROSSCODER_CACHE", "~/.cache/crosscoder")).expanduser()
)  # the user's, before any fixture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Outcome, Path]:
    """`python train.py` on 4,096 tokens; activations go to a folder of their own."""
    folder = tmp_path_factory.mktemp("gemma")
    few = [
        "n_tokens=4096",
        "n_validation=1024",
        "n_heldout=2048",
        "train_tokens=60_000",
        "batch_size=512",
        "n_latents=512",
    ]
    where = ["hydra.run.dir=run", f"harvest.root={folder / 'stores'}", "logger=csv"]
    outcome = ended(
        start("train.py", *few, *where, folder=folder, CROSSCODER_CACHE=CACHE), timeout=1200
    )
    assert outcome.code == 0, outcome.err
    return outcome, folder / "run"


def test_the_main_job_ends_with_a_crosscoder_that_explains_held_out_tokens(run):
    metrics = json.loads((run[1] / "metrics.json").read_text())
    assert min(metrics["fve/base"], metrics["fve/chat"]) > 0.7
    assert metrics["fve/difference"] > 0.3
    assert metrics["l0"] == pytest.approx(32, rel=0.1)
    assert metrics["n_tokens"] >= 4000


def test_spliced_models_lose_little_against_ablation(run):
    arguments = ["crosscoder=run", "eval=splice", "eval.splice.n_tokens=256"]  # the head is wide
    process = start("evaluate.py", *arguments, folder=run[1].parent, CROSSCODER_CACHE=CACHE)
    outcome = ended(process, timeout=900)
    assert outcome.code == 0, outcome.err
    splice = Result.load(run[1] / "results" / "splice.json").scalars
    for source in ("base", "chat"):
        assert 1.5 < splice[f"ce_clean/{source}"] < 4.5  # a language model it is
        assert 0.3 < splice[f"loss_recovered/{source}"] < 1
        assert splice[f"kl/{source}"] > 0
