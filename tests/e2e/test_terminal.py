"""Commands in a narrow terminal: nothing is broken, and W&B gets what the run was and became."""

import json
import shlex
from pathlib import Path

import pytest

from tests.e2e.commands import ended, start
from tests.helpers.wandb_files import read_offline_run

SMALL = ["debug=smoke", "train_tokens=20000", "n_latents=1100", "logger=wandb"]


def run(script: str, *arguments: str, folder: Path, width: int) -> list[str]:
    """Run a command to its end, and return the lines of its output."""
    environment = {"COLUMNS": str(width), "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    outcome = ended(start(script, *arguments, folder=folder, **environment))
    assert outcome.code == 0, outcome.err
    return outcome.out.splitlines()


def require_fit(lines: list[str], width: int) -> None:
    """Require that a line is wider than the terminal only because of a path."""
    assert [line for line in lines if len(line) > width and "/" not in line] == []
    assert [line for line in lines if "…" in line and "sha256" not in line] == []


@pytest.mark.parametrize("width", [60, 80])
def test_a_run_in_a_narrow_terminal(tmp_path, width):
    folder = f"{'long/' * 12}a run"
    lines = run("train.py", *SMALL, f"run={folder}", folder=tmp_path, width=width)
    require_fit(lines, width)
    (command,) = [line for line in lines if line.startswith("next ")]
    assert any(line.startswith("The next command trains") for line in lines)

    python, script, setting = shlex.split(command.removeprefix("next "))
    assert python == "python"
    evals = "eval=[reconstruction,diff,density,recovery,stability]"
    sizes = ["eval.stability.train_tokens=2048", "eval.stability.seeds=1"]
    lines = run(script, setting, evals, *sizes, folder=tmp_path, width=width)
    require_fit(lines, width)
    assert lines[0] == "evals"
    assert any(line.startswith("stability ") and "trains 1 crosscoder" in line for line in lines)
    latents = [line.split("│")[1].strip() for line in lines if line.startswith("│ 10")]
    assert latents
    assert all(latent.isdigit() for latent in latents if latent.startswith("10"))

    run_folder = tmp_path / folder
    config, history, summary = read_offline_run(run_folder)
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert config["n_latents"] == 1100
    assert config["recipe"]["activation"]["k"] == 6
    assert config["overrides"] == [*SMALL, f"run={folder}"]
    assert summary["fve/difference"] == pytest.approx(metrics["fve/difference"])
    assert summary["reconstruction/l0"] == pytest.approx(metrics["l0"])
    assert summary["tokens_per_second"] == pytest.approx(metrics["tokens_per_second"])
    assert "train/fve/difference" in history


def test_other_commands_in_a_narrow_terminal(tmp_path):
    lines = run("train.py", *SMALL, "stage=harvest", folder=tmp_path, width=60)
    require_fit(lines, 60)
    assert any(line.startswith("held-out store") for line in lines)


@pytest.mark.parametrize("option", ["--help", "--hydra-help"])
@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_output_that_nobody_reads_is_no_error(tmp_path, script, option):
    process = start(script, option, folder=tmp_path)
    process.stdout.close()
    process.stdout = None
    outcome = ended(process)
    assert outcome.code == 1
    assert outcome.err == ""
