"""A run folder holds one run, evals are independent, and failures come before harvesting."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

import crosscoder.training.fitting as fitting_module
from crosscoder.evals.reconstruction import ReconstructionEval
from tests.e2e.commands import SMALL, Outcome, ended, here, start
from tests.e2e.test_bad_input import refused

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("unchecked")]
PLANTED = ["debug=smoke", *SMALL]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Of each test its own, so that what was harvested shows."""
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def text(tmp_path) -> list[str]:
    """Return the settings of a run on a text file."""
    write_text(tmp_path, 0)
    data = [
        "models=tiny",
        "data=files",
        f"data.corpora.0.paths=[{tmp_path / 'lines.jsonl'}]",
        "data.seq_len=64",
    ]
    return [*data, *SMALL]


def write_text(folder: Path, first: int) -> None:
    rows = ({"text": f"{i} squared is {i * i}. " * 8} for i in range(first, first + 300))
    (folder / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


class Killed(BaseException):
    """The end of a process that nobody caught."""


def killed(*settings: str, trained: bool = True) -> None:
    """Run until training has ended but only its checkpoint is saved, or until it starts."""
    fit = fitting_module.fit

    def dies(*given):
        if trained:
            fit(*given)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting_module, "fit", dies)
        with pytest.raises(Killed):
            here("train.py", *settings)


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = (load_file(run / "crosscoder" / "model.safetensors") for run in (one, other))
    return all(ours[name].equal(theirs[name]) for name in theirs)


def ends_well(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, (outcome.out, outcome.err)
    return outcome


def test_a_folder_that_holds_a_run_takes_no_other(tmp_path):
    run = tmp_path / "run"
    ends_well(here("train.py", *PLANTED, f"run={run}"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for setting, words in (
        ("seed=1", ["seed: 0, not 1"]),
        ("n_latents=48", ["n_latents: 32, not 48"]),
    ):
        refused(
            here("train.py", *PLANTED, setting, f"run={run}"),
            "holds a run",
            *words,
            f"resume={run}",
            "delete",
        )
    assert "is finished" in ends_well(here("train.py", *PLANTED, f"run={run}")).out  # the very same
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_killed_run_is_not_gone_on_with_as_another(tmp_path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    killed(*PLANTED, f"run={run}")
    refused(
        here("train.py", *PLANTED, "seed=1", "lr=1e-4", f"run={run}"),
        "seed: 0, not 1",
        "lr: 0.002, not 0.0001",
    )
    ends_well(here("train.py", f"resume={run}"))
    ends_well(here("train.py", *PLANTED, f"run={whole}"))
    assert same_weights(run, whole)


def test_the_same_command_goes_on_with_a_killed_run(tmp_path):
    run = tmp_path / "run"
    killed(*PLANTED, f"run={run}", trained=False)
    ends_well(here("train.py", *PLANTED, "stage=harvest", f"run={run}"))
    ends_well(here("train.py", *PLANTED, f"run={run}"))
    assert (run / "metrics.json").exists()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    killed(*PLANTED, f"run={run}")
    killed(*PLANTED, "seed=1", f"run={other}")
    shutil.copy(other / "checkpoints" / "last.ckpt", run / "checkpoints" / "last.ckpt")
    refused(here("train.py", f"resume={run}"), "last.ckpt is of another run", "seed: 1, not 0")


def test_a_text_that_was_edited_is_refused_and_the_old_one_goes_on(tmp_path, text):
    run = tmp_path / "run"
    killed(*text, f"run={run}")
    write_text(tmp_path, 1000)
    refused(here("train.py", f"resume={run}"), "other inputs", "train.tokens_sha256: ", ", not ")
    refused(here("train.py", *text, f"run={run}"), "other inputs")
    write_text(tmp_path, 0)
    shutil.rmtree(tmp_path / "cache")  # harvested again
    ends_well(here("train.py", f"resume={run}"))


def test_a_stream_s_text_that_was_edited_behind_its_sample_is_refused(tmp_path, text):
    run = tmp_path / "run"
    stream = [
        *text,
        "data.mode=stream",
        "data.sample_tokens=500",
        "data.buffer_tokens=2000",
        f"run={run}",
    ]
    killed(*stream)
    with (tmp_path / "lines.jsonl").open("a") as file:
        file.write(json.dumps({"text": "more"}) + "\n")
    refused(here("train.py", f"resume={run}"), "other inputs", "stream.text.0")


@pytest.mark.parametrize(
    "content", ["", "a: 1\n", "[]", "run: ${nope}\n", "\x00\x01", "lr: [\n", "a: " + "[" * 3000]
)
def test_a_configuration_that_is_none_is_one_line(tmp_path, content):
    run = tmp_path / "run"
    killed(*PLANTED, f"run={run}", trained=False)
    (run / "config.yaml").write_text(content)
    refused(here("train.py", f"resume={run}"), "config.yaml")


def test_an_edited_configuration_is_refused(tmp_path):
    run = tmp_path / "run"
    killed(*PLANTED, f"run={run}", trained=False)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.002", "lr: 0.5"))
    refused(here("train.py", f"resume={run}"), "lr: 0.002, not 0.5", "restore it")


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        *(
            ("k=64", "k=64"),
            ("k=true", "k is"),
            ("layer=abc", "layer is"),
            ("train_tokens=nan", "train_tokens"),
        ),
        *(
            ("n_latents=1e3", "n_latents"),
            ("seed=abc", "seed"),
            ("stage=nonsense", "stage"),
            ("batch_size=0", "batch"),
        ),
        *(
            ("lr=nan", "lr is"),
            ("dead_after=-1", "dead_after"),
            ("n_heldout=0", "n_heldout"),
            ("sources=[]", "sources"),
        ),
        *(
            ("trainer.devices=2", "torchrun"),
            ("trainer.accelerator=tpu", "trainer"),
            ("constraint=[tied]", "multiple of 3"),
        ),
        *(
            ("+trainer.strategy=nonsense", "nonsense"),
            ("eval.reconstruction.batch_size=0", "batch_size"),
        ),
        *(("harvest.root=/proc/nowhere", "/proc/nowhere"), ("+trainer.max_epochs=1", "max_epochs")),
    ],
)
def test_nothing_is_begun_that_makes_no_sense(tmp_path, cache, setting, word):
    run = tmp_path / "run"
    refused(here("train.py", *PLANTED, setting, f"run={run}"), word)
    assert not (run / "config.yaml").exists()
    assert not list(cache.rglob("*.safetensors"))
    ends_well(
        here("train.py", *PLANTED, "train_tokens=256", "eval=[]", f"run={run}")
    )  # the folder is free


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for setting in (f"run={file}", f"run={file}/run", f"harvest.root={file}"):
        refused(
            here("train.py", *PLANTED, f"run={tmp_path / 'run'}", setting),
            "cannot write",
            str(file),
        )


def test_a_file_that_grows_too_large_for_the_process_is_named(tmp_path):
    settings = [*PLANTED, "n_latents=512", "run=run"]
    ends_well(ended(start("train.py", *PLANTED, "stage=harvest", "run=harvest", folder=tmp_path)))
    script = Path(__file__).parents[2] / "train.py"
    command = f"ulimit -f 300; exec {sys.executable} {script} {' '.join(settings)}"
    script = tmp_path / "limited.py"
    script.write_text(f"import os\nos.execvp('bash', ['bash', '-c', {command!r}])\n")
    outcome = ended(start(str(script), folder=tmp_path))
    assert outcome.code == 1, outcome.err
    assert "error: cannot write run/checkpoints/last.ckpt: File too large" in outcome.err
    assert "Traceback" not in outcome.err


def test_an_eval_that_fails_costs_no_other_its_result_and_the_page_is_written(
    tmp_path, monkeypatch
):
    run = tmp_path / "run"
    ends_well(here("train.py", *PLANTED, f"run={run}"))

    def breaks(self, context):
        raise AttributeError("no attribute 'norm'")

    with monkeypatch.context() as patch:
        patch.setattr(ReconstructionEval, "__call__", breaks)
        outcome = here("evaluate.py", f"crosscoder={run}", "eval=[reconstruction,density,splice]")
    assert outcome.code == 1
    lines = [line for line in outcome.err.splitlines() if line.strip()]
    assert len(lines) == 2, outcome.err
    assert lines[0].startswith(
        "error: reconstruction: AttributeError: no attribute 'norm'; the traceback is in "
    )
    assert lines[1].startswith("error: splice: splice needs the language models")
    assert (run / "results" / "density.json").exists()
    assert (run / "report.html").exists()
    assert "Traceback" in (run / "results" / "reconstruction.error.txt").read_text()
    ends_well(here("evaluate.py", f"crosscoder={run}", "eval=[reconstruction]"))
    assert not (run / "results" / "reconstruction.error.txt").exists()


def test_a_failing_eval_of_a_run_leaves_its_crosscoder_and_the_figures_of_the_others(
    tmp_path, monkeypatch
):
    run = tmp_path / "run"

    def breaks(self, context):
        raise ZeroDivisionError("by zero")

    with monkeypatch.context() as patch:
        patch.setattr(ReconstructionEval, "__call__", breaks)
        outcome = here("train.py", *PLANTED, "eval=[reconstruction,density]", f"run={run}")
    assert outcome.code == 1
    assert "error: reconstruction: ZeroDivisionError: by zero" in outcome.err
    assert json.loads((run / "metrics.json").read_text())["train_tokens"] > 0
    assert (run / "results" / "density.json").exists()
    assert (run / "crosscoder" / "model.safetensors").exists()


def test_two_models_that_are_one_are_trained_on_and_evaluated(tmp_path, text):
    run = tmp_path / "run"
    outcome = ends_well(here("train.py", *text, "models.lms.chat.drift=0", f"run={run}"))
    assert "reconstruction, fve/difference is left out: " in outcome.out
    assert not [
        key for key in json.loads((run / "metrics.json").read_text()) if "difference" in key
    ]
    ends_well(here("evaluate.py", f"crosscoder={run}", "eval=[reconstruction,splice,diff,density]"))
    diff = json.loads((run / "results" / "diff.json").read_text())
    assert not [key for key in diff["scalars"] if key.startswith("difference")]


def test_results_say_which_crosscoder_they_are_of(tmp_path):
    run = tmp_path / "run"
    ends_well(here("train.py", *PLANTED, f"run={run}"))
    ends_well(here("evaluate.py", f"crosscoder={run}", "eval=[diff]"))
    of_run = json.loads((run / "metrics.json").read_text())["crosscoder_sha256"]
    of_results = [
        json.loads(path.read_text())["meta"]["crosscoder_sha256"]
        for path in run.glob("results/*.json")
    ]
    assert of_results == [of_run, of_run]
    other = tmp_path / "other"
    ends_well(here("train.py", *PLANTED, "seed=1", f"run={other}"))
    shutil.copytree(other / "crosscoder", run / "crosscoder", dirs_exist_ok=True)
    outcome = ends_well(here("evaluate.py", f"crosscoder={run}", "eval=[reconstruction]"))
    assert (
        "another crosscoder than the one in this folder: "
        "diff.json, latents.parquet, contexts.parquet" in outcome.out
    )


@pytest.mark.parametrize(
    "name", ["with=equals", "with,comma", "ünïcode", "(paren)", "[/b]", "{brace}", "a'quote"]
)
def test_a_crosscoder_may_lie_anywhere(tmp_path, name):
    ends_well(here("train.py", *PLANTED, "train_tokens=256", f"run={tmp_path / 'run'}"))
    folder = shutil.copytree(tmp_path / "run", tmp_path / name)
    quoted = "'" + str(folder).replace("'", "\\'") + "'"
    ends_well(here("evaluate.py", f"crosscoder={quoted}", "eval=[reconstruction,stability]"))


KEY = {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:1", "WANDB_MODE": ""}


def test_a_key_without_a_network_costs_no_run(tmp_path):
    settings = [*PLANTED, "logger=wandb", "run=run"]
    outcome = ended(start("train.py", *settings, folder=tmp_path, **KEY))
    ends_well(outcome)
    said = [line for line in outcome.out.splitlines() if line.startswith("cannot log in to W&B")]
    assert len(said) == 1
    assert said[0].endswith("curves are kept offline")
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


def test_a_server_that_is_asked_for_and_not_there_costs_no_run(tmp_path):
    settings = [
        *PLANTED,
        "logger=wandb",
        "logger.mode=online",
        "logger.settings.init_timeout=3",
        "run=run",
    ]
    outcome = ended(start("train.py", *settings, folder=tmp_path, **KEY))
    ends_well(outcome)
    assert "W&B cannot log this run" in outcome.out
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


def test_a_harvest_asks_nothing_of_wandb(tmp_path):
    (tmp_path / "wandb.py").write_text("raise AssertionError('asked')\n")
    surroundings = {**KEY, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    settings = [*PLANTED, "logger=wandb", "stage=harvest", "run=run"]
    ends_well(ended(start("train.py", *settings, folder=tmp_path, **surroundings)))


@pytest.mark.parametrize("name", ["ä, b=[c] {d} 'e' \"f\"", "[red]x[/red] #1 (y):z"])
def test_a_run_may_have_any_name(name, tmp_path):
    run = str(tmp_path / name)
    quoted = "'" + run.replace("'", "\\'") + "'"  # as the command line's grammar wants it
    ends_well(here("train.py", *PLANTED, f"run={quoted}"))
    outcome = here(
        "evaluate.py", f"crosscoder={quoted}", "eval=[stability]", "eval.stability.train_tokens=512"
    )
    ends_well(outcome)
    assert (tmp_path / name / "results" / "stability.json").exists()
    shown = outcome.out.replace("\n", "").replace(" ", "")
    assert run.replace(" ", "") in shown


def test_settings_that_make_no_sense_end_in_one_line(tmp_path):
    run = tmp_path / "run"
    ends_well(here("train.py", *PLANTED, f"run={run}"))
    path = run / "crosscoder" / "config.json"
    config = json.loads(path.read_text())
    for setting in (
        "n_latents=1000000000",
        "experiment=nothing",
        "loss=[nothing]",
        "lr=nan",
        "activation.k=99999999999",
    ):
        config["provenance"]["settings"] = [setting]
        path.write_text(json.dumps(config))
        outcome = here("evaluate.py", f"crosscoder={run}", "eval=[stability]")
        assert outcome.code == 1
        assert outcome.err.startswith("error: stability: ")
        assert len(outcome.err.splitlines()) == 1


def test_settings_of_a_crosscoder_start_no_processes(tmp_path):
    run = tmp_path / "run"
    ends_well(here("train.py", *PLANTED, f"run={run}"))
    config = json.loads((run / "crosscoder" / "config.json").read_text())
    config["provenance"]["settings"] = [
        "trainer.devices=4",
        "trainer.num_nodes=2",
        "train_tokens=4000",
        "batch_size=120",
        "k=3",
    ]
    (run / "crosscoder" / "config.json").write_text(json.dumps(config))
    ends_well(here("evaluate.py", f"crosscoder={run}", "eval=[stability]"))
    asked = [
        "eval=[stability]",
        "seed=7",
        "recipe=['trainer.devices=2']",
    ]  # nor does who evaluates, by a setting alone
    outcome = here("evaluate.py", f"crosscoder={run}", *asked)
    assert outcome.code == 1
    assert (
        "error: stability: trainer.devices and trainer.num_nodes ask for 2 devices" in outcome.err
    )
