"""Foreign runs, moved, copied or shared: nothing outside of their folder is read or written."""

import json
import os
import shutil
from pathlib import Path

import pytest

from crosscoder.evals import Result
from tests.e2e.commands import SMALL, Outcome, here

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("unchecked")]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Finish and evaluate a run on planted activations, with its held-out store in its folder."""
    folder = tmp_path_factory.mktemp("planted")
    outcome = here(
        "train.py",
        "debug=smoke",
        *SMALL,
        f"run={folder / 'run'}",
        f"harvest.root={folder / 'stores'}",
    )
    assert outcome.code == 0, outcome.err
    outcome = here(
        "evaluate.py", f"crosscoder={folder / 'run'}", "pack=true", "eval=[reconstruction,diff]"
    )
    assert outcome.code == 0, outcome.err
    return folder / "run"


@pytest.fixture
def theirs(run, tmp_path) -> Path:
    return shutil.copytree(run, tmp_path / "theirs")


@pytest.fixture
def mine(tmp_path) -> Path:
    """Make a folder that must not change."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("a secret")
    return tmp_path / "mine"


def require_refusal(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 1, (outcome.code, outcome.out, outcome.err)
    assert "Traceback" not in outcome.out + outcome.err
    line, *more = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(more) <= 1  # an eval's, and the report's
    for word in words:
        assert word in line


def replace_by(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "results",
            "beside",
            "crosscoder",
            "heldout",
            "report.html",
            "config.yaml",
            "metrics.json",
            "curves.json",
        ),
        *("crosscoder/config.json", "crosscoder/model.safetensors", "results/latents.parquet"),
        *("heldout/meta.json", "heldout/.lock", "heldout/00000.base.safetensors"),
    ],
)
def test_a_link_that_leads_out_is_refused_by_evaluation(theirs, mine, name):
    is_folder = "." not in name
    replace_by(theirs / name, mine if is_folder else mine / "file")
    evals = "nulls" if name == "beside" else "reconstruction"
    outcome = here("evaluate.py", f"crosscoder={theirs}", f"eval=[{evals}]")
    require_refusal(outcome, name.rpartition("/")[2])
    assert [path.name for path in mine.iterdir()] == ["file"]
    assert (mine / "file").read_text() == "a secret"


@pytest.mark.parametrize("inner", ["", "checkpoints", "crosscoder"])
def test_a_link_below_beside_is_refused(theirs, mine, inner):
    outcome = here("evaluate.py", f"crosscoder={theirs}", "eval=[nulls]")
    assert outcome.code == 0, outcome.err
    shutil.rmtree(theirs / "beside" / "requests")  # the notes that name the folders
    for folder in (theirs / "beside").iterdir():
        shutil.rmtree(folder / "crosscoder")
        replace_by(folder / inner if inner else folder, mine)
    require_refusal(
        here("evaluate.py", f"crosscoder={theirs}", "eval=[nulls]"), "leads out of its folder"
    )
    assert [path.name for path in mine.iterdir()] == ["file"]


def test_a_link_in_place_of_the_notes_on_other_crosscoders_is_refused(theirs, mine):
    (theirs / "beside").mkdir()
    replace_by(theirs / "beside" / "requests", mine)
    require_refusal(
        here("evaluate.py", f"crosscoder={theirs}", "eval=[nulls]"), "leads out of its folder"
    )
    assert [path.name for path in mine.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "name", [".lock", "checkpoints", "crosscoder", "wandb", "logs", "identity.json", "curves.json"]
)
def test_a_link_that_leads_out_is_refused_by_resuming(theirs, mine, name):
    (theirs / "metrics.json").unlink()
    replace_by(theirs / name, mine if "." not in name else mine / "file")
    require_refusal(here("train.py", f"resume={theirs}"), name)
    assert [path.name for path in mine.iterdir()] == ["file"]
    assert (mine / "file").read_text() == "a secret"


def test_names_of_checkpoints_that_are_being_written_are_not_followed(theirs):
    (theirs / "metrics.json").unlink()
    shutil.rmtree(theirs / "checkpoints")
    (theirs / "checkpoints").mkdir()
    (theirs / "notes").write_text("notes")
    for name in ("next.ckpt", "last.tmp"):
        (theirs / "checkpoints" / name).symlink_to("../notes")
    outcome = here("train.py", f"resume={theirs}")
    assert outcome.code == 0, outcome.err
    assert (theirs / "notes").read_text() == "notes"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
@pytest.mark.parametrize(
    "name",
    [
        *(
            "config.yaml",
            "metrics.json",
            "curves.json",
            "results/reconstruction.json",
            "results/latents.parquet",
        ),
        *(
            "results/contexts.parquet",
            "crosscoder/config.json",
            "crosscoder/model.safetensors",
            "heldout/meta.json",
        ),
        *(
            "heldout/.lock",
            "heldout/00000.base.safetensors",
            "heldout/00000.tokens.safetensors",
            "report.html",
        ),
    ],
)
def test_what_is_no_file_is_refused_without_waiting(theirs, name, kind):
    path = theirs / name
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    outcome = here("evaluate.py", f"crosscoder={theirs}", "eval=[reconstruction]")
    if (name, kind) in (("results/reconstruction.json", "pipe"), ("report.html", "pipe")):
        assert outcome.code == 0, outcome.err  # it is replaced by a file
    else:
        require_refusal(outcome)


def test_a_packed_run_is_evaluated_where_nothing_else_is(run, tmp_path, monkeypatch):
    folder = shutil.copytree(run.parent, tmp_path / "another machine")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CROSSCODER_CACHE")
    shutil.rmtree(folder / "stores")
    provenance = json.loads((folder / "run" / "crosscoder" / "config.json").read_text())[
        "provenance"
    ]
    provenance |= {
        "heldout": "/gone/heldout",
        "train": "/gone/train",
        "validation": "/gone/validation",
    }
    config = json.loads((folder / "run" / "crosscoder" / "config.json").read_text()) | {
        "provenance": provenance
    }
    (folder / "run" / "crosscoder" / "config.json").write_text(json.dumps(config))
    before = Result.load(run / "results" / "reconstruction.json")
    monkeypatch.chdir(folder)
    outcome = here("evaluate.py", "crosscoder=run", "eval=[reconstruction,diff,density]")
    assert outcome.code == 0, outcome.err
    assert Result.load(Path("run/results/reconstruction.json")).scalars == before.scalars
    require_refusal(here("evaluate.py", "crosscoder=run", "eval=[stability]"), "/gone/train")
    shutil.rmtree("run/heldout")
    require_refusal(
        here("evaluate.py", "crosscoder=run"), "/gone/heldout", "store=FOLDER", "pack=true"
    )
    monkeypatch.chdir(folder.parent)
    shutil.copytree(run / "heldout", "heldout")
    outcome = here(
        "evaluate.py", f"crosscoder={folder / 'run'}", "store=heldout", "eval=[reconstruction]"
    )
    assert outcome.code == 0, outcome.err


def test_stores_in_the_run_folder_move_with_it(tmp_path):
    outcome = here(
        "train.py",
        "debug=smoke",
        *SMALL,
        f"run={tmp_path / 'a'}",
        f"harvest.root={tmp_path / 'a' / 'stores'}",
    )
    assert outcome.code == 0, outcome.err
    provenance = json.loads((tmp_path / "a" / "crosscoder" / "config.json").read_text())[
        "provenance"
    ]
    assert all(
        provenance[split].startswith("stores/") for split in ("train", "validation", "heldout")
    )
    (tmp_path / "a").rename(tmp_path / "b")
    outcome = here("evaluate.py", f"crosscoder={tmp_path / 'b'}", "eval=[reconstruction,nulls]")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "b" / "beside").is_dir()
