"""The command-line reference: what `--help` prints."""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from unittest.mock import patch

from crosscoder.cli.help import print_help
from crosscoder.explore.__main__ import main as explore
from crosscoder.formats.__main__ import main as formats
from docs.hooks.configuration import CONF

WIDTH = "92"  # characters of a line that a block of the site shows


def write_help() -> str:
    """Write the help of every command, as it is printed in a clone."""
    train = read_output(lambda: print_help(CONF, "train"), "train.py")
    evaluate = read_output(lambda: print_help(CONF, "evaluate"), "evaluate.py")
    parts = ["## train.py", block(train), "## evaluate.py", block(evaluate)]
    parts.append("## crosscoder.formats")
    for command in ("", "list", "show", "export", "push"):
        if command:
            parts.append(f"### {command}")
        arguments = [command, "--help"] if command else ["--help"]
        parts.append(block(read_output(formats, "crosscoder.formats", *arguments)))
    shown = read_output(explore, "crosscoder.explore", "--help")
    parts += ["## crosscoder.explore", block(shown)]
    return "\n\n".join(parts)


def read_output(command: Callable[[], None], program: str, *arguments: str) -> str:
    """Return what a command prints."""
    printed = io.StringIO()
    with (
        patch.object(sys, "argv", [program, *arguments]),
        patch.dict(os.environ, {"COLUMNS": WIDTH}),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),  # argparse ends a program after its help
    ):
        command()
    return printed.getvalue()


def block(text: str) -> str:
    """Return a block of text as it is."""
    lines = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
    return f"```text\n{lines}\n```"
