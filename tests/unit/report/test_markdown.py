import sys

import pytest

from crosscoder.documents import put
from crosscoder.errors import UserError
from crosscoder.evals import Result
from crosscoder.report import markdown
from crosscoder.runs import Run


@pytest.fixture
def run(tmp_path) -> Run:
    run = Run(tmp_path / "run")
    scalars = {"fve/base": 0.5, "fve/chat": 0.25, "l0": 3.0}
    rules = [{"rule": "chat-only", "latents": 1234}]
    Result("reconstruction", scalars, {"norm_rules": rules}, {"n_tokens": 7000}).save(run.results)
    run.write_metrics(dict.fromkeys(markdown.TRAINING, 1) | {"tokens_sha256": "ab" * 32})
    return run


def test_a_document_gets_a_runs_figures_between_its_marks(run, tmp_path, monkeypatch):
    document = tmp_path / "doc.md"
    document.write_text(f"before\n{markdown.BEGIN}\nold\n{markdown.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["markdown", str(run.folder), str(document)])
    markdown.main()
    markdown.main()  # again: the same
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    for line in ("|  | base | chat | all |", "| fve | 0.5000 | 0.2500 |  |", "| l0 |  |  | 3.0000 |"):
        assert line in text
    assert "`reconstruction`, 7,000 held-out tokens:" in text
    assert "chat-only: 1,234." in text
    assert text.count("abababababababab") == 1


def test_a_document_without_marks_is_refused():
    with pytest.raises(UserError, match="no place for figures"):
        put("text", markdown.BEGIN, markdown.END, "figures")


def test_a_run_that_did_not_finish_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no metrics\.json"):
        markdown.figures(Run(tmp_path))
