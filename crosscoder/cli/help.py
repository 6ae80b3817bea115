"""The text of --help: every choice and every setting of a command, from the files in conf/."""

import functools
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from crosscoder.cli.conf_files import ConfFile, Key, list_choices, list_groups
from crosscoder.installation import name_command
from crosscoder.terminal.console import TextConsole
from crosscoder.terminal.pairs import print_pairs
from crosscoder.terminal.words import print_words

FLAGS = ("--help", "-h")
CHOICE = re.compile(r"(\w+)=\[?([\w,]+)\]?")
MAX_DEFAULT = 40  # characters of a default


def answer_help(conf: Path, config: str) -> Callable[[Callable], Callable]:
    """Decorate a command so that --help on its command line prints the help and ends it.

    With choices on the command line, only these are explained: `eval=nulls --help`.

    Args:
        conf: Folder of the configuration.
        config: Name of the command's configuration.
    """

    def decorate(main: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(main)
        def wrapped(*args: Any) -> Any:
            arguments = sys.argv[1:]
            is_asked = any(flag in arguments for flag in FLAGS)
            if args or not is_asked:
                return main(*args)
            return print_help(conf, config, arguments)

        return wrapped

    return decorate


def print_help(conf: Path, config: str, arguments: Iterable[str] = ()) -> None:
    """Print the choices and the settings of a command, or the settings of the named choices."""
    console = TextConsole()
    named = _find_named_choices(conf, config, arguments)
    for title, file in named.items():
        print_words(console, f"{file.summary}.")
        prefix = f"{file.package}." if file.package else ""
        print_pairs(console, f"Settings of {title}", _describe_keys(file.list_keys(prefix)))
    if named:
        return
    file = ConfFile(conf / f"{config}.yaml")
    texts = _read_texts(conf, file)
    console.print(texts["header"], highlight=False, soft_wrap=True)
    defaults = file.list_defaults()
    console.print("== Choices, set with GROUP=NAME; lists with GROUP=[NAME,NAME] ==\n")
    for group in list_groups(conf, config):
        title = f"{group} (default: {', '.join(defaults[group]) or 'none'})"
        choices = list_choices(conf, group)
        print_pairs(console, title, [(name, one.summary) for name, one in choices.items()])
    print_pairs(console, "== Settings, set with KEY=VALUE ==", _describe_keys(file.list_keys()))
    print_words(console, texts["footer"])


def _read_texts(conf: Path, file: ConfFile) -> dict[str, Any]:
    """Return the header and the footer of a command's help."""
    (name,) = file.list_defaults()["override hydra/help"]
    text = (conf / "hydra" / "help" / f"{name}.yaml").read_text(encoding="utf-8")
    for command in ("train", "evaluate"):  # in the form in which the user started this one
        text = text.replace(f"python {command}.py", name_command(command))
    return yaml.safe_load(text)


def _find_named_choices(conf: Path, config: str, arguments: Iterable[str]) -> dict[str, ConfFile]:
    """Return the files of the choices on the command line."""
    named = {}
    groups = list_groups(conf, config)
    for argument in arguments:
        found = CHOICE.fullmatch(argument)
        if not found or found[1] not in groups:
            continue
        choices = list_choices(conf, found[1])
        for name in found[2].split(","):
            if name in choices:
                named[f"{found[1]}={name}"] = choices[name]
    return named


def _describe_keys(keys: Iterable[Key]) -> list[tuple[str, str]]:
    """Return a line for each key that users set: name with default, and comment."""
    lines = []
    for key in keys:
        if key.is_wired:
            continue
        default = " ".join(key.default.split())
        is_shown = default and len(default) <= MAX_DEFAULT
        lines.append((f"{key.name}={default}" if is_shown else key.name, key.comment))
    return lines
