"""Text from users and files is shown as text."""

import io

import pytest
from rich.table import Table

from crosscoder.errors import UserError, exit_on_error
from crosscoder.evals import Result
from crosscoder.io.markdown import format_table
from crosscoder.report.terminal import tables
from crosscoder.terminal.console import TextConsole
from crosscoder.terminal.escapes import escape_controls

ODD = "[red]a[/red] :smile: \x1b[31mb\x1b[0m \x9b1m \u202ec [/] [link=x]"
SHOWN = "[red]a[/red] :smile: \\x1b[31mb\\x1b[0m \\x9b1m \\u202ec [/] [link=x]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (ODD, SHOWN),
        ("äöü 中文 é\tx\ny", "äöü 中文 é\tx\ny"),
        ("\ud800", "\\ud800"),
        ("a\rb\x00", "a\\x0db\\x00"),
    ],
)
def test_controls_are_written_as_their_numbers(text, shown):
    assert escape_controls(text) == shown


def print_all(*content: object) -> str:
    file = io.StringIO()
    console = TextConsole(file=file, width=200, force_terminal=False)
    for part in content:
        console.print(part)
    return file.getvalue()


def test_a_console_prints_strings_as_they_are():
    shown = Table(title=ODD, caption=ODD)
    shown.add_column(ODD)
    shown.add_row(ODD)
    assert print_all(ODD, shown).count(SHOWN) == 5


def test_a_result_of_any_names_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(tables, "console", TextConsole(width=200))
    rows = [{ODD: ODD, "x": 1.0}]
    tables.show_result(Result(ODD, {f"fve/{ODD}": 1.0}, {ODD: rows, "answers": rows}))
    tables.show_pairs(ODD, [(ODD, ODD)])
    out = capsys.readouterr().out
    assert out.count(SHOWN) >= 8
    assert "\x1b" not in out


def test_an_error_of_any_text_is_one_line(capsys):
    @exit_on_error()
    def fail() -> None:
        raise UserError(f"no crosscoder at {ODD}")

    with pytest.raises(SystemExit):
        fail()
    assert capsys.readouterr().err == f"error: no crosscoder at {SHOWN}\n"


def test_a_table_of_a_document_keeps_text_in_its_cells():
    lines = format_table(["a|b", "c"], [["x\ny | z", "<script>\x1b[31m"]]).splitlines()
    assert lines == ["| a\\|b | c |", "| --- | ---: |", "| x y \\| z | &lt;script>\\x1b[31m |"]
