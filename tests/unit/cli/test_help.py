"""--help lists every choice and every setting, and imports nothing large."""

import subprocess
import sys

import pytest

from crosscoder.cli.conf_files import ConfFile, list_choices, list_groups
from crosscoder.cli.help import print_help
from crosscoder.cli.targets import CONF

COMMANDS = ["train", "evaluate"]


def words_of(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("config", COMMANDS)
@pytest.mark.parametrize("width", [60, 80])
def test_every_key_and_every_choice_is_explained(config, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    print_help(CONF, config)
    shown = words_of(capsys.readouterr().out)
    for key in ConfFile(CONF / f"{config}.yaml").list_keys():
        if not key.is_wired:
            assert key.name in shown
            assert words_of(key.comment) in shown
    for group in list_groups(CONF, config):
        assert f"{group} (default: " in shown
        for name, file in list_choices(CONF, group).items():
            assert f" {name} {words_of(file.summary)}" in shown


@pytest.mark.parametrize("config", COMMANDS)
def test_no_line_of_the_help_is_wider_than_80_columns(config, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    print_help(CONF, config)
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


def test_a_default_is_shown_as_it_is_written(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    print_help(CONF, "train")
    lines = [words_of(line) for line in capsys.readouterr().out.splitlines()]
    assert "n_latents=4096 size of the dictionary" in lines


def test_choices_on_the_command_line_are_explained_alone(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    print_help(CONF, "train", ["activation=topk", "eval=[splice,nothing]", "--help"])
    shown = capsys.readouterr().out
    assert "The k largest scores of each token." in shown
    assert "activation.anneal=0.3" in shown
    assert "eval.splice.n_tokens=4096" in shown
    assert "n_latents=4096" not in shown


@pytest.mark.long
@pytest.mark.parametrize("config", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_the_command_answers_without_large_libraries(config, flag):
    code = (
        f"import sys; sys.argv = ['{config}.py', '{flag}']\n"
        f"from crosscoder.cli.{config} import main\n"
        "main()\n"
        "large = {'torch', 'lightning', 'transformers', 'datasets', 'pandas', 'wandb'}\n"
        "assert not large & set(sys.modules), large & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert "== Settings, set with KEY=VALUE ==" in outcome.stdout
