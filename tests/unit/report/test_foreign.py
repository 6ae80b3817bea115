"""A foreign run folder with a fault makes a page or a one-line error."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from crosscoder.evals import Result
from crosscoder.io.run_dir import Run
from crosscoder.report.html.page import write_report
from crosscoder.report.markdown import find_replacements
from crosscoder.sweeps.figures import read_figures
from tests.helpers.report_run import write_run
from tests.helpers.spoiling import message_of, spoil_json, spoil_tables

pytestmark = pytest.mark.faults

MARKS = "<!-- figures of a run --><!-- diff --><!-- answers of ablation --><!-- cards -->"
TABLES = ("results/latents.parquet", "results/contexts.parquet")
EVALS = (
    "reconstruction",
    "nulls",
    "diff",
    "behaviour",
    "ablation",
    "steering",
    "patching",
    "compare",
)
FILES = (
    "metrics.json",
    "curves.json",
    "crosscoder/config.json",
    *TABLES,
    *(f"results/{name}.json" for name in EVALS),
)
# files that are read together with a file
BESIDE = {
    "results/contexts.parquet": TABLES[:1],
    "results/diff.json": TABLES,
    "results/latents.parquet": ("results/diff.json",),
    "results/reconstruction.json": ("metrics.json",),
    "results/nulls.json": TABLES[:1],
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """Write a finished run with everything that can be shown."""
    run = write_run(
        tmp_path_factory.mktemp("sound") / "run", n_latents=12, n_contexts=2, n_tokens=6
    )
    metrics = dict.fromkeys(
        ("n_latents", "n_tokens", "train_tokens", "harvest_seconds", "train_seconds"), 1.5
    )
    run.write_metrics(
        metrics | {"tokens_per_second": 2, "tokens_sha256": "ab" * 32, "fve/base": 0.5, "l0": 3.0}
    )
    content = json.loads(run.result_path("diff").read_text())
    content["tables"]["expertise"] = [{"latent": 0}, {"latent": 1}]
    run.result_path("diff").write_text(json.dumps(content))
    curves = json.loads(run.curves.read_text())
    run.curves.write_text(json.dumps(curves[:3]))
    return run.folder


def part_of(sound: Path, folder: Path, name: str) -> Run:
    """Copy a file, those that are read with it, and one result, so that there is a page."""
    run = Run(folder)
    Result("density", {"count/dead": 1.0}).save(run.results)
    for file in (name, *BESIDE.get(name, ())):
        (folder / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(sound / file, folder / file)
    return run


def spoil(path: Path, most: int) -> Iterator[str]:
    """Replace a file by damaged versions of it, and yield what was changed."""
    if path.suffix == ".json":
        for what, text in spoil_json(json.loads(path.read_text()), most):
            path.write_text(text)
            yield what
    else:
        original = path.with_name("original")
        shutil.copyfile(path, original)
        for what, table in spoil_tables(original, most):
            pq.write_table(table, path)
            yield what


def try_all(run: Run, name: str, most: int) -> None:
    """Read damaged versions of a file with every reader of the report."""
    for what in spoil(run.folder / name, most):
        for read in (
            lambda: write_report(run),
            lambda: list(find_replacements(run, MARKS)),
            lambda: read_figures(run),
        ):
            message = message_of(read)
            assert len(message.splitlines()) <= 1, what
            assert len(message) < 900, what
            assert "\x1b" not in message, what


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_one_fault_in_a_file_makes_a_page_or_one_line(sound, tmp_path, name, unchecked):
    try_all(part_of(sound, tmp_path / "run", name), name, most=8)


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_faults_in_several_files_make_a_page_or_one_line(sound, tmp_path, name, unchecked):
    try_all(part_of(sound, tmp_path / "run", name), name, most=50)


LINKED = (
    "report.html",
    "config.yaml",
    "metrics.json",
    "curves.json",
    "crosscoder",
    "results",
    *TABLES,
)


@pytest.mark.parametrize("name", [*LINKED, "results/diff.json", "crosscoder/config.json"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_out_of_the_folder_is_neither_read_nor_written(sound, tmp_path, name, kind):
    run = Run(shutil.copytree(sound, tmp_path / "run"))
    target = tmp_path / "mine"
    if kind == "file":
        target.write_text("a secret")
    else:
        shutil.copytree(sound / "results", target)
    before = (
        sorted(path.name for path in target.iterdir()) if kind == "folder" else target.read_text()
    )
    path = run.folder / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)
    assert "leads out of its folder" in message_of(lambda: write_report(run))
    assert before == (
        sorted(path.name for path in target.iterdir()) if kind == "folder" else target.read_text()
    )


def test_predictable_temporary_names_are_not_followed(sound, tmp_path, monkeypatch):
    run = Run(shutil.copytree(sound, tmp_path / "run"))
    target = tmp_path / "mine"
    target.write_text("mine")
    for number in range(2000):
        for name in ("report.html", "report"):
            (run.folder / f"{name}.{number}.tmp").symlink_to(target)
    monkeypatch.setattr("os.getpid", lambda: 17)
    assert write_report(run).stat().st_size > 1000
    assert target.read_text() == "mine"
