"""Results of another crosscoder than the one in the folder are left out with a note."""

import pytest
from safetensors.torch import save_file

from crosscoder.analysis.table import LatentTable
from crosscoder.core.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.evals import Result
from crosscoder.io.run_dir import Run
from crosscoder.report.current import find_crosscoder_sha256
from crosscoder.report.html.page import write_report
from crosscoder.report.inputs import Inputs
from crosscoder.report.markdown import load_current_result
from crosscoder.sweeps.figures import read_figures
from tests.helpers.small import crosscoder_of as made

OTHER = "ab" * 32


@pytest.fixture
def run(tmp_path) -> Run:
    """Build a run with results of its crosscoder, of another one, and without a hash."""
    run = Run(tmp_path / "run")
    made(TopK(3)).save_pretrained(run.crosscoder)
    own = find_crosscoder_sha256(run)
    assert own is not None
    for name, meta in (
        ("mine", {"crosscoder_sha256": own}),
        ("theirs", {"crosscoder_sha256": OTHER}),
        ("old", {}),
    ):
        Result(name, {"figure": 1.0}, meta=meta).save(run.results)
    columns = {"dead": [False], "density": [0.1], "norm/base": [1.0], "max": [2.0]}
    meta = {"sources": ["base"], "contrast": None, "n_tokens": 10, "crosscoder_sha256": OTHER}
    LatentTable.from_columns(columns, meta).save(run.results / "latents.parquet")
    run.write_metrics({"l0": 3.0, "crosscoder_sha256": OTHER})
    return run


def test_results_of_another_crosscoder_are_left_out_with_a_note(run, capsys):
    inputs = Inputs(run)
    assert list(inputs.results) == ["mine", "old"]
    assert inputs.table is None
    assert inputs.metrics == {}
    page = write_report(run).read_text()
    shown = capsys.readouterr().out
    for line in (
        "Left out because they belong to another crosscoder than the one in this folder: "
        "theirs.json, latents.parquet, metrics.json.",
        "May belong to another crosscoder than the one in this folder (no hash was saved): "
        "old.json.",
    ):
        assert line in page
        assert line in shown


def test_results_of_a_replaced_crosscoder_are_left_out(run):
    made(TopK(3), seed=1).save_pretrained(run.crosscoder)
    assert list(Inputs(run).results) == ["old"]
    with pytest.raises(UserError, match=r"mine.json in .* is about another crosscoder"):
        load_current_result(run, run.result_path("mine"))


def test_a_result_of_another_crosscoder_is_refused_for_a_document(run):
    assert load_current_result(run, run.result_path("mine")).name == "mine"
    with pytest.raises(
        UserError, match=r"theirs.json in .* is about another crosscoder .* evaluate.py"
    ):
        load_current_result(run, run.result_path("theirs"))


def test_the_newest_result_decides_for_a_foreign_crosscoder(tmp_path):
    run = Run(tmp_path)
    save_file({}, tmp_path / "ae.safetensors")
    Result("first", {}, meta={"crosscoder_sha256": OTHER}).save(run.results)
    assert list(Inputs(run).results) == ["first"]
    assert Inputs(run).notes == []
    Result("second", {}, meta={"crosscoder_sha256": "cd" * 32}).save(run.results)
    assert list(Inputs(run).results) == ["second"]


def test_a_sweep_ignores_counts_of_another_crosscoder(run):
    Result("diff", {"count/shared": 9.0}, meta={"crosscoder_sha256": "cd" * 32}).save(run.results)
    assert "count/shared" not in read_figures(run)
    Result("diff", {"count/shared": 9.0}, meta={"crosscoder_sha256": OTHER}).save(run.results)
    assert read_figures(run)["count/shared"] == 9.0
