"""docs/reference/contracts_on_disk.md lists the files, keys and tensors that runs really have."""

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from crosscoder import Store
from crosscoder.analysis.calibration import Calibration
from tests.docs.blocks import ROOT
from tests.docs.running import TEXT, choose_text
from tests.e2e.commands import SMALL, here

PAGE = (ROOT / "docs" / "reference" / "contracts_on_disk.md").read_text(encoding="utf-8")
# files of many names that the page names once
COLLECTED = {
    r"^results/\w+\.json$": "results/<eval>.json",
    r"^beside/requests/[\w.-]+\.json$": "beside/requests/<name>-<key>.json",
    r"^beside/[\w.-]+-[0-9a-f]{12}/.*$": "beside/<name>-<key>/",
    r"^heldout/.*$": "heldout/",
}
SHARDS = {r"^\d{5}\.": "NNNNN.", r"\.(base|chat)\.": ".<source>."}


def list_first_cells(table: str) -> set[str]:
    """Return the names in the first column of the table between two comments of the page."""
    _, begin, rest = PAGE.partition(f"<!-- {table} -->\n")
    assert begin
    rows = rest.partition(f"<!-- end of {table} -->")[0].splitlines()[2:]
    return {re.findall("`(.+?)`", row.split("|")[1])[0] for row in rows}


def list_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def show(name: str, patterns: dict[str, str]) -> str:
    """Return the name that the page has for a file."""
    for pattern, shown in patterns.items():
        name = re.sub(pattern, shown, name)
    return name


@pytest.fixture(scope="module")
def run(finished_run, tmp_path_factory) -> Path:
    """Evaluate a copy of a run with evals that train crosscoders, and pack its activations."""
    folder = tmp_path_factory.mktemp("run") / "RUN"
    shutil.copytree(finished_run, folder)
    settings = ["eval=[nulls,stability]", "pack=true"]
    settings += ["eval.stability.train_tokens=500", "eval.nulls.train_tokens=500"]
    outcome = here("evaluate.py", f"crosscoder={folder}", *settings)
    assert outcome.code == 0, outcome.err
    # so short a training finds no planted feature, and leaves no calibration
    scales = {"ratio": 0.2, "trace": 0.02, "write": 0.02, "cross": 0.03}
    Calibration({"trace": 0.0, "write": 0.0, "cross": 0.3}, scales, {}, {}).save(folder)
    return folder


def test_a_run_has_the_files_of_the_page(run):
    assert {show(name, COLLECTED) for name in list_files(run)} == list_first_cells("files of a run")


def test_a_crosscoder_beside_a_run_has_the_files_that_the_page_names(run):
    for folder in (run / "beside").iterdir():
        if folder.name == "requests":
            continue
        assert list_files(folder) == {
            "crosscoder/config.json",
            "crosscoder/model.safetensors",
            "curves.json",
        }


def test_a_crosscoder_has_the_files_and_the_tensors_of_the_page(run):
    assert list_files(run / "crosscoder") == list_first_cells("files of a crosscoder")
    with safe_open(run / "crosscoder" / "model.safetensors", "pt") as file:
        tensors = set(file.keys())
    assert tensors == list_first_cells("tensors of a crosscoder") - {"groups"}


def test_a_store_has_the_files_of_the_page(finished_run, tmp_path, monkeypatch):
    # a cache of its own, since stores of planted activations have one file more
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "cache"))
    settings = ["models=tiny", *choose_text(finished_run.with_name(TEXT)), "stage=harvest"]
    outcome = here("train.py", *settings, *SMALL, f"run={tmp_path / 'run'}")
    assert outcome.code == 0, outcome.err
    folder = next((tmp_path / "cache" / "stores").iterdir())
    assert Store(folder).sources.names == ("base", "chat")
    assert {show(name, SHARDS) for name in list_files(folder)} == list_first_cells(
        "files of a store"
    )


def test_results_and_contexts_have_the_keys_of_the_page(run):
    for path in (run / "results").glob("*.json"):
        assert set(json.loads(path.read_text())) == list_first_cells("keys of a result")
    columns = pq.read_schema(run / "results" / "contexts.parquet").names
    assert set(columns) == list_first_cells("columns of contexts")


def test_a_sweep_has_the_files_of_the_page(tmp_path):
    settings = ["debug=smoke", *SMALL, "k=3,4", f"hydra.sweep.dir={tmp_path}"]
    outcome = here("train.py", "-m", *settings)
    assert outcome.code == 0, outcome.err
    names = {show(name, {r"^\d/.*$": "<run>/"}) for name in list_files(tmp_path)}
    assert names == list_first_cells("files of a sweep")
