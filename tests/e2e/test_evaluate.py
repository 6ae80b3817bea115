"""`evaluate.py` on the files of a saved run of two small language models."""

import json
import shutil

import pytest

from crosscoder.analysis.analysis import Analysis
from crosscoder.evals import Result
from tests.e2e.commands import SMALL, here


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train on text that is harvested from the tiny pair, and return the run's folder."""
    folder = tmp_path_factory.mktemp("run")
    text = folder / "text.txt"
    text.write_text("\n".join(f"Line {i} says that {i} times {i} is {i * i}." for i in range(1500)))
    lines = folder / "lines.jsonl"
    lines.write_text(
        "".join(json.dumps({"text": line * 3}) + "\n" for line in text.read_text().splitlines())
    )
    data = ["models=tiny", "data=files", f"data.corpora.0.paths=[{lines}]", "data.seq_len=64"]
    outcome = here("train.py", *data, *SMALL, f"hydra.run.dir={folder / 'run'}")
    assert outcome.code == 0, outcome.err
    return folder / "run"


def test_evals_save_their_results_and_print_them(run):
    outcome = here("evaluate.py", f"crosscoder={run}")
    assert outcome.code == 0, outcome.err
    for name in ("reconstruction", "splice"):
        assert str(run / "results" / f"{name}.json") in outcome.out
    splice = Result.load(run / "results" / "splice.json")
    assert {key for key in splice.scalars if "/" in key} >= {
        f"{metric}/{source}"
        for metric in ("loss_recovered", "delta_ce", "kl")
        for source in ("base", "chat")
    }
    assert all(splice.scalars[f"kl/{source}"] >= 0 for source in ("base", "chat"))


def test_the_figures_of_the_run_are_reproduced(run):
    metrics = json.loads((run / "metrics.json").read_text())
    shutil.rmtree(run / "results")
    assert here("evaluate.py", f"crosscoder={run}", "eval=reconstruction").code == 0
    again = Result.load(run / "results" / "reconstruction.json").scalars
    for key in (
        "fve/base",
        "fve/chat",
        "fve_standardised/base",
        "fve_standardised/chat",
        "fve/difference",
        "l0",
    ):
        assert again[key] == pytest.approx(metrics[key], rel=1e-6), key


def test_the_table_of_latents_is_made_once_with_the_settings_that_are_chosen(run, monkeypatch):
    tables = []
    make_table = Analysis.make_table

    def remember(self, *arguments, **settings):
        tables.append(make_table(self, *arguments, **settings))
        return tables[-1]

    monkeypatch.setattr(Analysis, "make_table", remember)
    for setting in ("+analysis.n_tokens=100", "+eval.diff.analysis.n_tokens=100"):  # new, and old
        outcome = here("evaluate.py", f"crosscoder={run}", "eval=[diff,density]", setting)
        assert outcome.code == 0, outcome.err
        (table,) = tables
        assert table.meta["n_tokens"] == 100
        assert Result.load(run / "results" / "density.json").meta["n_tokens"] == 100
        tables.clear()


def test_the_crosscoders_folder_suffices(run, tmp_path):
    alone = shutil.copytree(run / "crosscoder", tmp_path / "moved")
    outcome = here("evaluate.py", f"crosscoder={alone}", "eval=reconstruction")
    assert outcome.code == 0, outcome.err
    assert (alone / "results" / "reconstruction.json").exists()
