"""`train.py -m` with Hydra's launchers and Optuna: killed, repeated, not installed."""

import json
import re
import time
from pathlib import Path

import pytest

from tests.e2e.commands import Outcome, ended, start

SMALL = ["debug=smoke", "train_tokens=20_000", "eval=[reconstruction]", "hydra.sweep.dir=sweep"]
GRID = "{{k: '{k}', lr: '2e-3', n_latents: '64'}}"
SPACE = (
    "{k: 'tag(log, int(interval(2, 16)))', lr: 'tag(log, interval(1e-3, 4e-3))', "
    "n_latents: 'choice(32, 64)'}"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Where all of them find the activations."""
    folder = tmp_path_factory.mktemp("cache")
    outcome = ended(
        start("train.py", *SMALL[:1], "stage=harvest", folder=folder, CROSSCODER_CACHE=str(folder))
    )
    assert outcome.code == 0, outcome.err
    return folder


def finished(folder: Path) -> dict[str, int]:
    """When each run of the sweep was finished."""
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in (folder / "sweep").glob("*/metrics.json")
    }


def rows_of(folder: Path) -> list[dict]:
    return json.loads((folder / "sweep" / "sweep.json").read_text())


def test_side_by_side_a_run_that_fails_stops_no_other_and_a_grown_grid_trains_what_is_new(
    tmp_path, cache
):
    def sweep(k: str) -> Outcome:
        grid = [
            "-m",
            "sweep=lr_k_width",
            f"hydra.sweeper.params={GRID.format(k=k)}",
            "hydra/launcher=local_processes",
        ]
        return ended(start("train.py", *grid, *SMALL, folder=tmp_path, CROSSCODER_CACHE=str(cache)))

    first = sweep("3,0")
    assert first.code == 1
    assert "error: k is a whole number from 1, not 0" in first.err
    assert "error: not finished: k0_n_latents64_lr0.002" in first.err
    assert "Traceback" not in first.err
    assert [row["pareto"] for row in rows_of(tmp_path)] == ["not finished", "front"]
    before = finished(tmp_path)
    (tmp_path / "sweep" / "k0_n_latents64_lr0.002").rename(tmp_path / "failed")

    grown = sweep("9,3")
    assert grown.code == 0, grown.err
    assert "Sweep of 2 runs" in grown.out
    assert [row["k"] for row in rows_of(tmp_path)] == [3, 9]
    assert finished(tmp_path).items() > before.items()
    assert "Plotly" in (tmp_path / "sweep" / "pareto.html").read_text()


def test_a_search_that_was_killed_goes_on_without_doing_anything_twice(tmp_path, cache):
    settings = ["-m", "sweep=pareto", *SMALL, f"hydra.sweeper.params={SPACE}"]
    environment = {"CROSSCODER_CACHE": str(cache)}
    search = start(
        "train.py", *settings, "hydra.sweeper.n_trials=4", folder=tmp_path, **environment
    )
    waited = time.monotonic()
    while not finished(tmp_path) and search.poll() is None and time.monotonic() - waited < 120:
        time.sleep(0.02)
    search.kill()
    outcome = ended(search)
    before = finished(tmp_path)
    assert 1 <= len(before) < 4, outcome.err

    for n_trials in (4, 5):  # what is asked for in all, in however many goes
        outcome = ended(
            start(
                "train.py",
                *settings,
                f"hydra.sweeper.n_trials={n_trials}",
                folder=tmp_path,
                **environment,
            )
        )
        assert outcome.code == 0, outcome.err
        assert len(finished(tmp_path)) == n_trials
        assert finished(tmp_path).items() > before.items()
        before = finished(tmp_path)
    rows = rows_of(tmp_path)
    assert {row["run"] for row in rows} == set(before)
    front = {(row["fve/difference"], row["l0"]) for row in rows if row["pareto"]}
    found = re.findall(r"Values: \[(.*?), (.*?)\]", outcome.out)  # what Optuna says is the front
    assert front == {(float(fve), float(l0)) for fve, l0 in found}


@pytest.mark.parametrize(
    ("choice", "extra"),
    [("sweep=pareto", "sweeps"), ("hydra/launcher=ray_tasks", "ray")],
)
def test_a_plugin_that_is_not_installed_is_named_with_the_extra_that_brings_it(
    tmp_path, choice, extra
):
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "__init__.py").touch()  # hides those that are
    outcome = ended(
        start("train.py", "-m", choice, "k=3,4", folder=tmp_path, PYTHONPATH=str(tmp_path))
    )
    assert outcome.code == 1
    assert re.fullmatch(
        rf"error: hydra/\w+/\w+ needs a plugin of Hydra: pip install -e \"\.\[{extra}\]\"",
        outcome.err.strip(),
    )
    assert not (tmp_path / "outputs").exists()
