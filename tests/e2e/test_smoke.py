"""The two commands on planted data: a run is trained, evaluated, and has a page to look at."""

import json

import pytest

from tests.e2e.commands import SMALL, here

pytestmark = pytest.mark.quick


def test_a_run_is_trained_and_evaluated(tmp_path):
    run = tmp_path / "run"
    trained = here("train.py", "debug=smoke", *SMALL, f"run={run}")
    assert trained.code == 0, trained.err
    assert f"evaluate.py crosscoder={run}" in trained.out
    metrics = json.loads((run / "metrics.json").read_text())
    assert 0 < metrics["fve/chat"] < 1
    evaluated = here("evaluate.py", f"crosscoder={run}", "eval=[diff,recovery]")
    assert evaluated.code == 0, evaluated.err
    assert (run / "results" / "latents.parquet").exists()
    assert (run / "results" / "recovery.json").exists()
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")


def test_a_mistyped_setting_is_one_line_that_suggests_another(tmp_path):
    outcome = here("train.py", "debug=smoke", "n_latent=8", f"run={tmp_path / 'run'}")
    assert outcome.code == 1
    assert "did you mean n_latents" in outcome.err
    assert "Traceback" not in outcome.err
