import pytest

from crosscoder.evals import Result
from crosscoder.report.tables import by_source, figure, show, show_pairs, show_result


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """A terminal that does not wrap."""
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
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_figures_are_shown_at_the_precision_one_reads(value, shown):
    assert figure(value) == shown


def test_flat_keys_become_a_row_per_metric_and_a_column_per_source():
    rows = by_source({"fve/base": 0.9, "fve/chat": 0.8, "fve/difference": 0.7, "kl/chat": 0.1, "l0": 32.0})
    assert rows == [
        {"": "fve", "base": 0.9, "chat": 0.8, "difference": 0.7, "all": ""},
        {"": "kl", "base": "", "chat": 0.1, "difference": "", "all": ""},
        {"": "l0", "base": "", "chat": "", "difference": "", "all": 32.0},
    ]
    assert by_source({"l0": 32.0}) == [{"": "l0", "all": 32.0}]


def test_a_result_is_shown_with_its_tables(capsys):
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


def test_a_caption_says_on_how_much_and_how_long(capsys):
    show_result(Result("splice", {f"a_long_name/{i}": 0.5 for i in range(9)}, {}, {"seconds": 3.2, "n_tokens": 4096}))
    assert "4,096 held-out tokens, 3 s" in capsys.readouterr().out


def test_what_looks_like_markup_is_shown_as_it_is(capsys):
    show_pairs("files", [("run", "outputs/[red]1")])
    show("runs", [{"run": "outputs/[red]2"}])
    shown = capsys.readouterr().out
    assert "outputs/[red]1" in shown
    assert "outputs/[red]2" in shown


def test_a_table_without_rows_is_no_error():
    show("nothing", [])
