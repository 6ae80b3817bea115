import re
import sys

import numpy as np
import pytest

from crosscoder.errors import UserError
from crosscoder.evals import Result
from crosscoder.io.markdown import replace_between
from crosscoder.io.run_dir import Run
from crosscoder.report import markdown
from tests.helpers.disks import small_disk
from tests.helpers.report_run import interventions, latent_table


@pytest.fixture
def run(tmp_path) -> Run:
    run = Run(tmp_path / "run")
    scalars = {"fve/base": 0.5, "fve/chat": 0.25, "l0": 3.0}
    rules = [{"rule": "chat-only", "latents": 1234}]
    Result("reconstruction", scalars, {"norm_rules": rules}, {"n_tokens": 7000}).save(run.results)
    run.write_metrics(dict.fromkeys(markdown.TRAINING_METRICS, 1) | {"tokens_sha256": "ab" * 32})
    return run


def test_a_run_s_figures_are_put_between_the_marks(run, tmp_path, monkeypatch):
    document = tmp_path / "doc.md"
    document.write_text(f"before\n{markdown.BEGIN}\nold\n{markdown.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["markdown", str(run.folder), str(document)])
    markdown.main()
    markdown.main()  # again: the same
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    for line in (
        "|  | base | chat | all |",
        "| fve | 0.5000 | 0.2500 |  |",
        "| l0 |  |  | 3.0000 |",
    ):
        assert line in text
    assert "`reconstruction`, 7,000 held-out tokens:" in text
    assert "chat-only: 1,234." in text
    assert text.count("abababababababab") == 1


def test_a_figure_inside_a_line_is_replaced(run):
    line = "| FVE | <!-- figure: reconstruction fve/base -->old<!-- end --> | kept |"
    new = markdown.replace_figures(run, line)
    assert new == "| FVE | <!-- figure: reconstruction fve/base -->0.5000<!-- end --> | kept |"
    assert markdown.replace_figures(run, new) == new
    other = "<!-- figure: splice kl/base -->old<!-- end -->"
    assert markdown.replace_figures(run, other) == other
    with pytest.raises(UserError, match="no figure 'fve/all', but fve/base"):
        markdown.replace_figures(run, line.replace("fve/base", "fve/all"))


def test_a_document_without_marks_is_refused():
    with pytest.raises(UserError, match="no place for figures"):
        replace_between("text", markdown.BEGIN, markdown.END, "figures")


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no metrics\.json"):
        markdown.format_quality(Run(tmp_path))


@pytest.fixture
def asked(tmp_path) -> Run:
    run = Run(tmp_path / "asked")
    for result in interventions(latent_table(64, np.random.default_rng(0))):
        result.save(run.results)
    return run


def put_into(run: Run, document, monkeypatch, text: str) -> str:
    document.write_text(text)
    monkeypatch.setattr(sys, "argv", ["markdown", str(run.folder), str(document)])
    markdown.main()
    return document.read_text()


@pytest.mark.parametrize("name", ["behaviour", "ablation", "steering", "patching"])
def test_a_result_is_put_completely_except_its_answers(asked, name, tmp_path, monkeypatch):
    text = put_into(
        asked, tmp_path / "doc.md", monkeypatch, f"<!-- {name} -->\n<!-- end of {name} -->"
    )
    assert f"`{name}`, 5 {'answers' if name == 'patching' else 'questions'}, " in text
    assert "divided by zero" not in text
    result = Result.load(asked.result_path(name))
    for table, rows in result.tables.items():
        assert (f"{table}:\n\n| {next(iter(rows[0]))} |" in text) == (table != "answers")
    parts = [part.partition("\n<!--")[0] for part in text.split("\n\n")]
    tables = [part.splitlines() for part in parts if part.startswith("|")]
    assert all(
        len({line.count("|") for line in lines}) == 1 for lines in tables
    )  # as many cells in every row
    assert " nan " not in text
    assert " None " not in text


def test_the_first_answers_are_put_as_code(asked, tmp_path, monkeypatch):
    marks = "<!-- answers of ablation -->\nold\n<!-- end of answers of ablation -->"
    text = put_into(asked, tmp_path / "doc.md", monkeypatch, marks)
    assert "old" not in text
    assert re.findall(r"^Question \d:$", text, re.M) == [
        "Question 1:",
        "Question 2:",
        "Question 3:",
    ]
    assert "- asked:\n\n      Is snippet 0 correct?\n\n- **base**:\n\n      No: <b>x</b>" in text
    assert "snippet 3" not in text
    assert text.count("- **ours@4**:") == 3
    body = text.removeprefix("<!-- answers of ablation -->\n").removesuffix(
        "\n<!-- end of answers of ablation -->"
    )
    allowed = re.compile(r"(Question \d:|- asked:|- \*\*.+\*\*:| {6}.*|)")
    assert all(allowed.fullmatch(line) for line in body.splitlines())


def test_each_framing_is_put_with_its_answers(asked):
    text = markdown.format_first_answers(Result.load(asked.result_path("behaviour")), n=1)
    asked_as = re.findall(r"^- (asked as \w+|\*\*\w+\*\*):$", text, re.M)
    assert asked_as == [
        part
        for way in ("novice", "expert", "neutral")
        for part in (f"asked as {way}", "**base**", "**chat**")
    ]


def test_a_result_without_answers_is_refused():
    with pytest.raises(UserError, match="patching has no answers"):
        markdown.format_first_answers(Result("patching", {}))


def test_an_empty_answer_is_shown_as_nothing():
    assert markdown.indent_code(" \n") == "      (nothing)"
    assert markdown.indent_code("a\n\nb") == "      a\n\n      b"


def test_selected_tables_of_a_result_are_put(asked, tmp_path, monkeypatch):
    mark = "<!-- ablation: margins, interventions -->"
    text = put_into(
        asked,
        tmp_path / "doc.md",
        monkeypatch,
        f"{mark}\nold\n{mark.replace('ablation', 'end of ablation')}",
    )
    assert "old" not in text
    assert text.count("| --- |") == 2
    assert "ranking" not in text
    with pytest.raises(UserError, match="no table 'sweeps', but"):
        markdown.format_tables(Result.load(asked.result_path("ablation")), ["sweeps"])


@pytest.mark.faults
def test_a_full_disk_leaves_the_document_unchanged(run, tmp_path, monkeypatch, capsys):
    with small_disk(tmp_path / "disk") as disk:
        document = disk.folder / "doc.md"
        text = f"before\n{markdown.BEGIN}\nold\n{markdown.END}\nafter\n" + "words " * 2000
        document.write_text(text)
        disk.fill()
        monkeypatch.setattr(sys, "argv", ["markdown", str(run.folder), str(document)])
        with pytest.raises(SystemExit) as end:
            markdown.main()
        assert end.value.code == 1
        assert f"cannot write {document}: No space left on device" in capsys.readouterr().err
        assert document.read_text() == text
        assert sorted(path.name for path in disk.folder.iterdir()) == ["ballast", "doc.md"]


@pytest.mark.faults
@pytest.mark.parametrize("content", [b"\xff", "folder", None])
def test_a_document_that_is_not_text_is_refused_in_one_line(
    run, tmp_path, monkeypatch, capsys, content
):
    document = tmp_path / "doc.md"
    if content == "folder":
        document.mkdir()
    elif content is not None:
        document.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["markdown", str(run.folder), str(document)])
    with pytest.raises(SystemExit):
        markdown.main()
    assert re.fullmatch(r"error: (cannot read )?\S+doc\.md.*\n", capsys.readouterr().err)


@pytest.mark.faults
def test_marks_in_a_result_are_escaped():
    assert markdown.END not in markdown.format_rows([{"a": f"x\n{markdown.END}"}])
    assert markdown.END not in markdown.indent_code(f"before {markdown.END}")


@pytest.mark.faults
def test_missing_metrics_are_named(run):
    run.write_metrics({"n_latents": 3})
    with pytest.raises(UserError, match=r"metrics\.json lacks n_tokens, train_tokens"):
        markdown.format_quality(run)
