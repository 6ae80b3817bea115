import json

import pytest

from crosscoder.evals import Result
from crosscoder.report.closing import closing, harvested
from crosscoder.runs import Run


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def test_results_and_metrics_are_written_and_shown(planted_splits, tmp_path, capsys):
    results = [Result("reconstruction", {"fve/chat": 0.97, "l0": 31.5}), Result("splice", {"kl/chat": 0.1})]
    closing(Run(tmp_path), planted_splits, results, {"n_latents": 4096, "loss": 0.1})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "fve/chat": 0.97,
        "l0": 31.5,
        "n_latents": 4096,
        "loss": 0.1,
        "tokens_sha256": planted_splits.train.tokens_sha256,
    }
    assert [Result.load(tmp_path / "results" / f"{result.name}.json") for result in results] == results
    shown = capsys.readouterr().out
    for word in ("0.9700", "4,096", "0.1000", str(planted_splits.train.folder), f"evaluate.py crosscoder={tmp_path}"):
        assert word in shown


def test_a_harvest_ends_with_its_stores(planted_splits, capsys):
    harvested(planted_splits, 12.3)
    shown = capsys.readouterr().out
    for word in ("[base, chat] of width 16, 16", "4,000", "1,000", str(planted_splits.heldout.folder), "12 s"):
        assert word in shown
