import pytest

from crosscoder.evals import Result
from crosscoder.report.terminal.tables import (
    format_coverage,
    format_figure,
    group_by_source,
    show,
    show_pairs,
    show_result,
)


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Make the terminal too wide to wrap."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.97654321, "0.9765"),
        (-0.5, "-0.5000"),
        (123.456, "123.5"),
        (12345.678, "12,345.7"),
        (614400.0, "614,400"),
        (73728, "73,728"),
        (0, "0"),
        (True, "True"),
        ("batch_topk", "batch_topk"),
        (float("nan"), "–"),
        (None, "–"),
        (float("inf"), "inf"),
    ],
)
def test_figures_have_readable_precision(value, shown):
    assert format_figure(value) == shown


def test_flat_keys_become_a_row_per_metric_and_a_column_per_source():
    rows = group_by_source(
        {"fve/base": 0.9, "fve/chat": 0.8, "fve/difference": 0.7, "kl/chat": 0.1, "l0": 32.0}
    )
    assert rows == [
        {"": "fve", "base": 0.9, "chat": 0.8, "difference": 0.7, "all": ""},
        {"": "kl", "base": "", "chat": 0.1, "difference": "", "all": ""},
        {"": "l0", "base": "", "chat": "", "difference": "", "all": 32.0},
    ]
    assert group_by_source({"l0": 32.0}) == [{"": "l0", "all": 32.0}]


def test_a_result_is_printed_with_its_tables(capsys):
    show_result(
        Result(
            "splice",
            {"kl/chat": 0.25},
            {"rules": [{"rule": "R > 0.8 [toy]", "latents": 1234}]},
            {"seconds": 3.2, "n_tokens": 4096},
        )
    )
    shown = capsys.readouterr().out
    for word in ("splice", "kl", "chat", "0.2500", "R > 0.8 [toy]", "1,234"):
        assert word in shown


def test_the_caption_has_the_number_of_tokens_and_the_duration(capsys):
    show_result(
        Result(
            "splice",
            {f"a_long_name/{i}": 0.5 for i in range(9)},
            {},
            {"seconds": 3.2, "n_tokens": 4096},
        )
    )
    assert "4,096 held-out tokens, 3 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"n_questions": 32, "seconds": 210.4}, "32 questions, 210 s"),
        (
            {"n_questions": 32, "n_tokens": 23_787, "seconds": 210.4},
            "32 questions, 23,787 held-out tokens, 210 s",
        ),
        ({"n_answers": 16, "n_tokens": 730, "seconds": 33}, "16 answers, 730 tokens, 33 s"),
        ({"n_tokens": 4096}, "4,096 held-out tokens"),
        ({"seconds": 3.2}, "3 s"),
        ({}, ""),
    ],
)
def test_the_coverage_lists_what_the_meta_has(meta, expected):
    assert format_coverage(meta) == expected


def test_only_the_first_two_answers_are_printed_and_wrapped(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    rows = [
        {"question": f"[red]Question {i}?", "chat": f"{'word ' * 40}\n\nend {i}", "odd": None}
        for i in range(5)
    ]
    show_result(
        Result(
            "ablation",
            {"removed@4": 0.5},
            {"answers": rows, "margins": [{"over": "probe", "margin": 0.25}]},
        )
    )
    shown = capsys.readouterr().out
    assert "the first 2 of 5 rows" in shown
    for words in ("[red]Question 0?", "end 0", "end 1", "–", "probe", "0.2500"):
        assert words in shown
    assert "Question 2" not in shown
    assert max(map(len, shown.splitlines())) <= 60


def test_rows_with_different_columns_are_aligned(capsys):
    show("dose", [{"direction": "latents"}, {"direction": "random", "rate": 0.5}, {"rate": 0.25}])
    lines = [
        line.split("│")[1:3]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("│")
    ]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["latents", ""],
        ["random", "0.5000"],
        ["", "0.2500"],
    ]


def test_markup_in_values_is_printed_as_text(capsys):
    show_pairs("files", [("run", "outputs/[red]1")])
    show("runs", [{"run": "outputs/[red]2"}])
    shown = capsys.readouterr().out
    assert "outputs/[red]1" in shown
    assert "outputs/[red]2" in shown


def test_a_table_without_rows_is_left_out_and_the_others_are_printed(capsys):
    tables = {"rules": [], "dose": [{"direction": "latents", "rate": 0.5}]}
    show_result(Result("steering", {"rate": 0.25}, tables))
    shown = capsys.readouterr().out
    assert "rules" not in shown
    for word in ("0.2500", "steering: dose", "latents", "0.5000"):
        assert word in shown
