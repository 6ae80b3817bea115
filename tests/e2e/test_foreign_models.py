"""Models that a foreign run names are not loaded; the user's own run is evaluated anywhere."""

import shutil
from pathlib import Path

import pytest

from crosscoder.lm.loading import load, trust
from tests.e2e.commands import SMALL, here
from tests.helpers.model_folders import CHATML, save_llama

TEXT = (
    "A short document about nothing in particular, "
    "which has a few words more than one line would need. "
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Finish a run on a model and its finetune, which has added tokens."""
    root = tmp_path_factory.mktemp("own")
    save_llama(root / "base")
    save_llama(root / "chat", ["<|im_start|>", "<|im_end|>", "[PAD]"], template=CHATML, seed=1)
    for number in range(30):
        (root / f"{number}.txt").write_text(f"{number}: {TEXT * 6}")
    files = ",".join(str(root / f"{number}.txt") for number in range(30))
    outcome = here(
        "train.py",
        *(
            "models=gemma3_270m_it",
            f"models.lms.base.weights={root / 'base'}",
            f"models.lms.chat.weights={root / 'chat'}",
        ),
        *("models.layer=0", "models.dtype=float32", "models.device=cpu"),
        *("data=files", f"data.corpora.0.paths=[{files}]", "data.seq_len=64"),
        *SMALL,
        f"run={root / 'run'}",
    )
    assert outcome.code == 0, outcome.err
    return root / "run"


def test_a_run_is_evaluated_where_it_was_moved_to(run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "moved")
    outcome = here("evaluate.py", f"crosscoder={moved}", "eval=splice")
    assert outcome.code == 0, outcome.err
    assert (moved / "results" / "splice.json").exists()


def test_models_of_somebody_else_s_run_are_named_and_not_loaded(run, tmp_path, monkeypatch):
    theirs = shutil.copytree(run, tmp_path / "theirs")
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "cache"))  # of another user
    with monkeypatch.context() as patch:
        patch.setattr(load, "resolve_folder", lambda name: pytest.fail(f"{name} was looked for"))
        patch.setattr(trust, "resolve_folder", lambda name: pytest.fail(f"{name} was looked for"))
        outcome = here("evaluate.py", f"crosscoder={theirs}", "eval=splice")
    assert outcome.code == 1
    (said,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert str(run.parent / "base") in said
    assert "trust_models=true loads it" in said
    trusted = here("evaluate.py", f"crosscoder={theirs}", "eval=splice", "trust_models=true")
    assert trusted.code == 0, trusted.err


def test_what_needs_no_model_is_evaluated_all_the_same(run, tmp_path, monkeypatch):
    theirs = shutil.copytree(run, tmp_path / "theirs")
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "cache"))
    shutil.rmtree(theirs / "results")
    outcome = here("evaluate.py", f"crosscoder={theirs}")
    assert outcome.code == 0, outcome.err
    assert "splice is left out: this crosscoder names the model" in outcome.out
    assert (theirs / "results" / "reconstruction.json").exists()
    assert not (theirs / "results" / "splice.json").exists()
