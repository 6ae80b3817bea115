"""Names and values: no word, path or command is broken."""

import io

import pytest

from crosscoder.terminal.console import TextConsole
from crosscoder.terminal.pairs import print_pairs

PATH = "/data/" + "long/" * 30


def print_all(width: int, pairs: list[tuple[str, str]], **options: bool) -> list[str]:
    file = io.StringIO()
    print_pairs(TextConsole(file=file, width=width), "title", pairs, **options)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 60, 80])
def test_a_path_or_a_command_stays_on_one_line(width):
    command = f"python evaluate.py 'crosscoder=\"{PATH} x\"'"
    lines = print_all(width, [("run", PATH), ("next", command)], is_whole=True)
    assert lines == ["title", f"run   {PATH}", f"next  {command}", ""]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_other_values_are_wrapped_between_words(width):
    text = "one-and-two 123,456 " * 9
    lines = print_all(width, [("name", text), ("hash", "f" * 100)])
    assert " ".join(" ".join(lines[1:-2]).split()) == f"name {text.strip()}"
    assert max(map(len, lines[:-2])) <= width
    assert lines[-2] == "hash  " + "f" * 100


def test_a_long_name_has_a_line_of_its_own():
    name = "gemma-scope-2-270m-pt/resid_post/layer_9_width_16k_l0_medium"
    lines = print_all(60, [(name, "Gemma Scope 2"), ("kissane2024", "hf://owner/name")])
    assert lines[1:4] == [name, "             Gemma Scope 2", "kissane2024  hf://owner/name"]
