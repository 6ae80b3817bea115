"""Tables that a harvest and a training run end with."""

import shlex

import pytest

from crosscoder.evals import Result
from crosscoder.evals.support.plan import Plan
from crosscoder.io.run_dir import Run
from crosscoder.report.terminal.summaries import (
    print_finished,
    print_harvest_summary,
    print_training_summary,
)


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Make the terminal too wide to wrap."""
    monkeypatch.setenv("COLUMNS", "300")


def test_a_finished_run_prints_results_training_figures_and_files(planted_splits, tmp_path, capsys):
    results = [
        Result("reconstruction", {"fve/chat": 0.97, "l0": 31.5}),
        Result("splice", {"kl/chat": 0.1}),
    ]
    training = {"n_latents": 4096, "loss": 0.1}
    print_training_summary(Run(tmp_path), planted_splits, results, training)
    printed = capsys.readouterr().out
    for word in (
        "0.9700",
        "4,096",
        "0.1000",
        str(planted_splits.train.folder),
        f"evaluate.py crosscoder={tmp_path}",
    ):
        assert word in printed


def test_the_next_step_says_how_long_it_takes(planted_splits, tmp_path, capsys):
    plan = Plan({"diff": [], "nulls": [1_500_000] * 4}, 4_000.0)
    print_training_summary(Run(tmp_path), planted_splits, [], {}, plan)
    assert (
        "The next command trains 4 crosscoders, about 25 min (nulls); with eval=[diff] it trains "
        "nothing." in capsys.readouterr().out
    )
    print_training_summary(Run(tmp_path), planted_splits, [], {}, Plan({"diff": []}, 4_000.0))
    assert "The next command" not in capsys.readouterr().out


def test_the_next_command_is_one_line_that_can_be_copied(
    planted_splits, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "60")
    folder = tmp_path / ("a b" * 30)
    print_training_summary(Run(folder), planted_splits, [], {})
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next ")]
    assert lines == [f"next         python evaluate.py 'crosscoder=\"{folder}\"'"]


def test_a_harvest_prints_its_stores(planted_splits, capsys):
    print_harvest_summary(planted_splits, 12.3)
    printed = capsys.readouterr().out
    for word in (
        "[base, chat] of width 16, 16",
        "4,000",
        "1,000",
        str(planted_splits.heldout.folder),
        "12 s",
    ):
        assert word in printed


def test_the_command_of_a_finished_run_stands_alone_on_its_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    folder = tmp_path / ("a b" * 30)
    print_finished(Run(folder))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder} is finished"
    (command,) = [line for line in lines if line.startswith("next ")]
    words = shlex.split(command.removeprefix("next "))
    assert words[-1] == f'crosscoder="{folder}"'
