"""A printed command means the same value to the shell and to Hydra."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from crosscoder.terminal.commands import format_command


@pytest.mark.parametrize(
    "value",
    [
        "outputs/2026-01-01_12-00-00",
        "outputs/a b",
        "a,b",
        "a=b",
        "it's",
        'say "so"',
        "back\\slash",
        'both\\"',
        "end\\",
        "{x}",
        "[y]",
        "(z)",
        "ä",
        "$HOME",
        "#1",
        "~/run",
        "",
        "a\\\\b c",
    ],
)
def test_a_command_can_be_copied(value):
    command = format_command("python evaluate.py", crosscoder=value)
    assert "\n" not in command
    python, script, word = shlex.split(command)
    assert (python, script) == ("python", "evaluate.py")
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.key_or_group == "crosscoder"
    assert str(override.value()) == value


def test_an_ordinary_folder_is_not_quoted():
    command = format_command("python evaluate.py", crosscoder="outputs/2026-01-01_12-00-00")
    assert command == "python evaluate.py crosscoder=outputs/2026-01-01_12-00-00"
