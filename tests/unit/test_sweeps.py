import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from crosscoder.errors import UserError
from crosscoder.io.run_dir import Run
from crosscoder.report.html.pareto import draw_pareto, name_columns, write_pareto
from crosscoder.sweeps import SweepTable, sweep_job
from crosscoder.sweeps.figures import read_objective
from crosscoder.sweeps.pareto import find_front, mark_front

SETTINGS = {"k": 4, "lr": 2e-3, "activation": {"k": "${k}"}, "objective": None, "resume": None}


@pytest.fixture
def sweep(tmp_path, monkeypatch) -> Path:
    """Make a sweep with twelve finished runs, one that was killed, and one that failed at once."""
    monkeypatch.setenv("COLUMNS", "300")
    for number in range(13):
        run = Run(tmp_path / str(number))
        n_latents, k = 128 * (1 + number // 2), 3
        activation = {
            "_target_": f"crosscoder.core.activations.{'topk' if number % 2 else 'relu'}",
            "k": k,
        }
        config = {
            "n_latents": n_latents,
            "k": k,
            "run": str(run.folder),
            "logger": {"save_dir": str(run.folder)},
        }
        config |= {
            "activation": activation,
            "init": {"n": n_latents},
        }  # the latter only repeats n_latents
        run.write_config(
            OmegaConf.to_yaml(OmegaConf.create(config | {"overrides": [f"n_latents={n_latents}"]}))
        )
        if number < 12:
            run.write_metrics(
                {
                    "fve/chat": number / 100,
                    "l0": 20 - number % 2,
                    "tokens_sha256": "ab",
                    "loss": 0.5,
                }
            )
    (tmp_path / "13").mkdir()
    run = Run(tmp_path / "11")
    run.results.mkdir()
    scalars = {"count/chat_specific": 7, "count/shared": 90, "seconds": 1}
    run.result_path("diff").write_text(json.dumps({"name": "diff", "scalars": scalars}))
    return tmp_path


@pytest.fixture
def multirun(monkeypatch) -> None:
    """As if this were a job of a multirun."""
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: SimpleNamespace(mode=RunMode.MULTIRUN))


def ended(sweep: Path, **config: object) -> None:
    SweepTable().on_multirun_end(
        OmegaConf.create({"hydra": {"sweep": {"dir": str(sweep)}}, **config})
    )


def config_of(folder: Path, **settings: object) -> DictConfig:
    return OmegaConf.create(
        SETTINGS
        | {"run": str(folder), "overrides": [], "logger": {"save_dir": "${run}"}}
        | settings
    )


def job(
    folder: Path, fails: BaseException | None = None, **settings: object
) -> tuple[object, list[str | None]]:
    """Return what the sweeper gets from a job, and for each training what it resumed."""
    trained = []

    def main(cfg: DictConfig) -> None:
        trained.append(cfg.resume)
        Run(cfg.run).write_config(OmegaConf.to_yaml(cfg, resolve=True))
        if fails is not None:
            raise fails
        Run(cfg.run).write_metrics(
            {"fve/chat": 0.5, "l0": float(cfg.k), "loss": float("nan"), "tokens_sha256": "ab"}
        )

    return sweep_job(main)(config_of(folder, **settings)), trained


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 2)))
def test_the_front_is_what_no_other_run_dominates(points: Sequence[tuple[float, float]]):
    def dominated(fve: float, l0: float) -> bool:
        return any(f >= fve and n <= l0 and (f, n) != (fve, l0) for f, n in points)

    assert find_front(points) == [not dominated(*point) for point in points]


@pytest.mark.parametrize(
    ("keys", "taken"),
    [(("fve/base", "fve/difference"), "fve/difference"), (("fve/base", "fve/chat"), "fve/base")],
)
def test_the_front_is_that_of_the_difference_if_there_is_one(keys, taken):
    rows = [{keys[0]: -i, keys[1]: i, "l0": 1.0, "pareto": ""} for i in range(3)]
    rows += [{keys[0]: None, keys[1]: None, "l0": 0.5, "pareto": ""}, {"pareto": "not finished"}]
    assert mark_front(rows) == taken
    assert [row["pareto"] for row in rows[3:]] == ["", "not finished"]
    assert [row["pareto"] for row in rows[:3]].index("front") == (
        2 if taken == "fve/difference" else 0
    )


def test_one_row_per_run_with_what_was_varied_and_what_came_out(sweep, capsys):
    with pytest.raises(SystemExit):
        ended(sweep)
    rows = json.loads((sweep / "sweep.json").read_text())
    assert [row["run"] for row in rows] == [str(number) for number in range(14)]
    assert set(rows[0]) == {"run", "n_latents", "activation._target_", "fve/chat", "l0", "pareto"}
    assert [row["n_latents"] for row in rows[:4]] == [128, 128, 256, 256]
    assert [row["fve/chat"] for row in rows[:3]] == [0.0, 0.01, 0.02]
    assert [row["pareto"] for row in rows] == [""] * 11 + ["front"] + ["not finished"] * 2
    assert (rows[11]["count/chat_specific"], rows[11]["count/shared"]) == (7, 90)
    shown = capsys.readouterr()
    assert "Sweep of 14 runs" in shown.out
    assert "crosscoder.core.activations.topk" in shown.out
    assert "count/chat_specific" in shown.out
    assert "not finished: 12, 13" in shown.err


def test_the_page_needs_nothing_else_and_points_have_what_is_known_of_a_run(sweep):
    with pytest.raises(SystemExit):
        ended(sweep)
    page = (sweep / "pareto.html").read_text()
    assert "Plotly" in page
    assert "<script src" not in page
    rows = json.loads((sweep / "sweep.json").read_text())
    figure = draw_pareto(
        [row for row in rows if "l0" in row], ["n_latents", "activation._target_"], "fve/chat"
    )
    joined, *groups = figure.data
    assert (joined.x, joined.y) == ((19,), (0.11,))
    assert "n_latents 768" in joined.text[0]
    assert {group.name for group in groups} == {
        "activation relu",
        "activation topk",
    }  # six widths are too many colours
    assert any("chat-specific: 7" in text for group in groups for text in group.text)
    assert len(draw_pareto([], [], "fve/chat").data) == 1


def test_a_sweep_without_runs_or_of_harvests_says_nothing(tmp_path, sweep, capsys):
    ended(tmp_path / "none")
    ended(sweep, stage="harvest")
    assert capsys.readouterr().out == ""
    assert not (sweep / "sweep.json").exists()


@pytest.mark.usefixtures("multirun")
class TestTrial:
    """Of a job of a multirun."""

    def test_a_finished_run_gives_its_figures_at_once_whatever_does_not_change_it(self, tmp_path):
        first, trained = job(tmp_path / "0", objective=["fve/chat", "l0"])
        assert (first, trained) == ([0.5, 4.0], [None])
        again, trained = job(tmp_path / "0", objective="l0", logger=None, overrides=["k=4"])
        assert (again, trained) == (4.0, [])

    def test_an_unfinished_run_goes_on(self, tmp_path):
        job(tmp_path / "0")
        Run(tmp_path / "0").metrics.unlink()
        assert job(tmp_path / "0") == (None, [str(tmp_path / "0")])

    @pytest.mark.parametrize("finished", [True, False])
    def test_the_run_of_other_settings_is_not_taken_for_it(self, tmp_path, capsys, finished):
        job(tmp_path / "0")
        if not finished:
            Run(tmp_path / "0").metrics.unlink()
        with pytest.raises(SystemExit):
            job(tmp_path / "0", k=5)
        assert "holds a run of other settings (k: 4, not 5)" in capsys.readouterr().err
        assert OmegaConf.load(Run(tmp_path / "0").config).k == 4

    @pytest.mark.parametrize(
        "fails", [RuntimeError("out of memory"), UserError("no"), SystemExit(1)]
    )
    def test_a_run_that_fails_leaves_the_others_theirs(self, tmp_path, fails, capsys):
        assert job(tmp_path / "0", fails, objective="l0") == (None, [None])
        assert isinstance(fails, SystemExit) or str(fails) in capsys.readouterr().err
        assert job(tmp_path / "0", objective="l0")[0] == 4.0

    def test_one_that_is_stopped_stops_all(self, tmp_path):
        with pytest.raises(SystemExit) as stopped:
            job(tmp_path / "0", SystemExit(130))
        assert stopped.value.code == 130

    def test_a_run_is_worked_on_by_one_process(self, tmp_path, capsys):
        (tmp_path / "0").mkdir()
        with FileLock(tmp_path / "0" / ".lock"), pytest.raises(SystemExit):
            job(tmp_path / "0")
        assert "another process works on" in capsys.readouterr().err

    def test_several_processes_share_no_run_of_a_sweep(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("crosscoder.distributed.launched_processes", lambda: (2, 2))
        with pytest.raises(SystemExit):
            job(tmp_path / "0")
        assert "sweep jobs are single-process" in capsys.readouterr().err

    def test_an_objective_that_no_run_gives_is_named_with_those_it_gives(self, tmp_path, capsys):
        with pytest.raises(SystemExit):
            job(tmp_path / "0", objective=["fve/chat", "fve/cat"])
        assert "objective fve/cat: the figures of a run are fve/chat, l0, loss" in " ".join(
            capsys.readouterr().err.split()
        )


def test_a_single_run_is_begun_anew(tmp_path):
    assert job(tmp_path / "0", objective="l0")[1] == [None]
    assert job(tmp_path / "0", k=5) == (None, [None])
    assert read_objective(Run(tmp_path / "1"), "l0") is None


def test_columns_have_plain_names():
    varied = ["activation._target_", "loss.l1.weight", "loss.l0.weight"]
    names = name_columns([*varied, "fve/difference", "count/chat_specific", "l0"], varied)
    assert list(names.values()) == [
        "activation",
        "loss.l1.weight",
        "loss.l0.weight",
        "FVE of the difference",
        "chat-specific",
        "L0",
    ]


def test_runs_are_linked_and_classes_have_their_names(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "k=1").mkdir()
    Run(tmp_path / "k=1").report.write_text("")
    row = {"activation._target_": "crosscoder.core.activations.TopK", "fve/chat": 0.5, "l0": 8.0}
    rows = [row | {"run": name, "pareto": "front"} for name in ("0", "k=1", "lost")]
    write_pareto(tmp_path / "pareto.html", rows, ["activation._target_"], "fve/chat")
    page = (tmp_path / "pareto.html").read_text(encoding="utf-8")
    assert '<a href="0/">0</a>' in page
    assert '<a href="k%3D1/report.html">k=1</a>' in page
    assert '">lost</a>' not in page
    assert "<td>TopK</td>" in page
    assert "crosscoder.core" not in page


@pytest.mark.parametrize(("l0", "kind"), [((19.0, 20.0), None), ((4.0, 64.0), "log")])
def test_ticks_are_labelled_for_any_range_of_l0(l0, kind):
    rows = [{"run": str(n), "fve/chat": 0.5, "l0": n, "pareto": "front"} for n in l0]
    axis = draw_pareto(rows, [], "fve/chat").layout.xaxis
    assert axis.type == kind
    assert (axis.ticktext is None) == (kind is None)
