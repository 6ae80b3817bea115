import pytest

from crosscoder.evals import Result
from crosscoder.report.planted import read_planted
from tests.helpers.report_run import write_run
from tests.unit.report.html.test_page import page_of

CONFIG = "behaviour:\n  planted: {description: Answers in rhyme., vocabulary: [moon, 3]}\n"


def result(rows, meta=None) -> Result:
    return Result("methods", {}, {"methods": rows}, meta or {})


def test_the_configuration_says_what_was_planted():
    planted = read_planted(CONFIG, {})
    assert planted is not None
    assert planted.description == "Answers in rhyme."
    assert planted.vocabulary == ["moon", "3"]
    assert "run eval=[methods]" in planted.outcome


@pytest.mark.parametrize(
    "config", ["", "seed: 0", "behaviour: null", "behaviour: {planted: null}", "a: [", "- 1"]
)
def test_nothing_is_said_where_nothing_was_planted(config):
    assert read_planted(config, {}) is None


def test_methods_that_found_it_are_named():
    rows = [
        {"method": "a", "found": 2, "uses_labels": False},
        {"method": "b", "found": None, "uses_labels": False},
        {"method": "c", "found": None, "uses_labels": True},
    ]
    planted = read_planted(CONFIG, {"methods": result(rows)})
    assert planted is not None
    assert planted.outcome == (
        "Found by 1 of 2 methods: a at rank 2 (without labels); 0 of 1 methods (with labels)."
    )
    unscored = read_planted(CONFIG, {"methods": result([{"method": "a"}])})
    assert unscored is not None
    assert unscored.outcome == "Whether it can be found was not measured."


def test_the_page_says_it(tmp_path):
    page = page_of(write_run(tmp_path / "run", n_latents=16, n_contexts=2))
    assert "Novices <b>get</b> praise." in page.text
    assert "Planted words: lovely, worry." in page.text
    assert "crosscoder_energy at rank 2" in page.text
