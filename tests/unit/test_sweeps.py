import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from crosscoder.sweeps import SweepTable


@pytest.fixture
def sweep(tmp_path, monkeypatch) -> Path:
    """Twelve finished runs of a sweep over n_latents and the activation, and one that failed."""
    monkeypatch.setenv("COLUMNS", "300")
    for number in range(12):
        run = tmp_path / str(number)
        run.mkdir()
        n_latents, k = 128 * (1 + number // 2), 3
        activation = {"_target_": f"crosscoder.activations.{'topk' if number % 2 else 'relu'}", "k": k}
        config = {"n_latents": n_latents, "k": k, "run": str(run), "logger": {"save_dir": str(run)}}
        config |= {"activation": activation, "init": {"n": n_latents}}  # the latter only repeats n_latents
        OmegaConf.save(OmegaConf.create(config), run / "config.yaml")
        metrics = {"fve/chat": number / 100, "l0": 3.0, "tokens_sha256": "ab", "loss": 0.5}
        (run / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "12").mkdir()
    return tmp_path


def test_one_row_per_finished_run_with_what_was_varied(sweep, capsys):
    SweepTable().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(sweep)}}}))
    rows = json.loads((sweep / "sweep.json").read_text())
    assert [row["run"] for row in rows] == [str(number) for number in range(12)]
    assert set(rows[0]) == {"run", "n_latents", "activation._target_", "fve/chat", "l0"}
    assert [row["n_latents"] for row in rows[:4]] == [128, 128, 256, 256]
    assert [row["fve/chat"] for row in rows[:3]] == [0.0, 0.01, 0.02]
    shown = capsys.readouterr().out
    assert "Sweep of 12 runs" in shown
    assert "crosscoder.activations.topk" in shown


def test_a_sweep_without_finished_runs_says_nothing(tmp_path, capsys):
    SweepTable().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "sweep.json").exists()
