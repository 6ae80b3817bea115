"""Run the code blocks of a page, with small models in place of those that the page names.

Python blocks share one namespace. Commands of this project run in this process, with settings that
make them small. Everything happens in a folder that has a finished run at `outputs/RUN`.
"""

import contextlib
import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crosscoder.formats.__main__ import main as formats
from crosscoder.report.__main__ import main as report
from tests.docs.blocks import ROOT, Block, list_blocks
from tests.e2e.commands import SMALL, Outcome, here
from tests.helpers.configs import choices

PAIRS = re.compile(rf"\b({'|'.join(sorted(choices('models'), key=len, reverse=True))})\b")
LAYER = re.compile(r"\b(resid_post|mlp_out|attn_out|attn_z)\.(\d+)")
RUN = re.compile(r"(?<![\w/.-])RUN\b")
COMMENT = re.compile(r"\s+#\s.*")
VARIABLE = re.compile(r"([A-Z_]+)=(.*)")
SCRIPTS = {"crosscoder-train": "train.py", "crosscoder-evaluate": "evaluate.py"}
MODULES = {"crosscoder.report": report, "crosscoder.formats": formats}
CONSOLE = {"crosscoder-report": report, "crosscoder-formats": formats}
TEXT = "text.jsonl"
FILE_COMMANDS = ("cat", "cp", "ls", "mkdir", "mv", "rm")

# by eval, so few questions and tokens that it takes seconds
SMALL_EVALS = {
    "ablation": [
        "n_pairs=4",
        "n_questions=3",
        "n_plain=64",
        "max_new_tokens=3",
        "sizes=[1,2]",
        "headline=[1,2]",
    ],
    "behaviour": ["n_questions=4", "n_factors=2", "max_new_tokens=4"],
    "compare": ["splice.n_tokens=128"],
    "diff": ["n_pairs=4", "contexts=1", "jacobian_contexts=4"],
    "equivalence": ["n_latents=2", "n_inputs=4", "tokens_per_input=2"],
    "explain": ["n_latents=4", "n_tokens=512", "window=8"],
    "layers": ["n_layers=2", "n_tokens=1200", "n_heldout=200", "n_latents=16", "train_tokens=500"],
    "methods": [
        "n_pairs=4",
        "n_questions=3",
        "n_plain=64",
        "max_new_tokens=3",
        "n_tokens=128",
        "jacobian_contexts=4",
        "methods.difference_sae.train_tokens=500",
        "causal=[crosscoder_energy]",
        "sizes=[1,2]",
    ],
    "nulls": ["train_tokens=500"],
    "patching": ["n_questions=2", "n_random=1", "max_new_tokens=3"],
    "splice": ["n_tokens=128"],
    "stability": ["train_tokens=500", "seeds=1"],
    "steering": [
        "n_pairs=4",
        "n_questions=2",
        "max_new_tokens=3",
        "n_latents=2",
        "strengths=[0.1]",
        "n_random=1",
    ],
}
DEFAULT_EVALS = {
    "train.py": ["reconstruction"],
    "evaluate.py": ["reconstruction", "splice", "diff", "density", "nulls"],
}


# a page whose Python is executed by another test, as a notebook
PYTHON_ELSEWHERE = {"docs/tutorial.md": "tests/e2e/test_tutorial.py"}


def run_page(page: Path, folder: Path, run: Path) -> None:
    """Run the blocks of a page in order, in a folder with a copy of a finished run.

    Args:
        page: The page.
        folder: An empty folder.
        run: The finished run. Beside it lies TEXT, the text that commands read by default.

    Raises:
        AssertionError: A command fails.
        Exception: What a Python block raises; its traceback names the page and the line.
    """
    blocks = list_blocks(page)
    shutil.copytree(run, folder / "outputs" / "RUN", symlinks=True)
    for block in blocks:
        if "file" in block.marks:
            path = folder / block.marks["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    session = Session(folder, run.with_name(TEXT))
    for block in blocks:
        is_elsewhere = block.language == "python" and block.page in PYTHON_ELSEWHERE
        if block.is_run and not is_elsewhere:
            session.run(block)


class Session:
    """The state that the blocks of a page share: a folder and a namespace."""

    def __init__(self, folder: Path, text: Path) -> None:
        self.folder = folder
        self.text = text
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.n_runs = 0

    def run(self, block: Block) -> None:
        """Run a block of Python or of commands."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(webbrowser, "open", lambda url: True)
            if block.language == "python":
                code = "\n" * block.line + shrink(block.text)  # lines count as on the page
                exec(compile(code, ROOT / block.page, "exec"), self.names)
                return
            extra = shlex.split(block.marks.get("run with", ""))
            for command in split_commands(shrink(RUN.sub("outputs/RUN", block.text))):
                outcome = self._start(command, extra, patch)
                said = f"{outcome.out[-2000:]}\n{outcome.err[-2000:]}"
                assert outcome.code == 0, f"{block.place}: {command}\n{said}"

    def _start(self, command: str, extra: list[str], patch: pytest.MonkeyPatch) -> Outcome:
        words = shlex.split(command)
        while VARIABLE.fullmatch(words[0]):
            patch.setenv(*words.pop(0).split("=", 1))
        program, arguments = words[0], words[1:]
        if program in CONSOLE:
            return call(CONSOLE[program], program, arguments)
        if program in SCRIPTS:
            return self._start_script(SCRIPTS[program], arguments, extra)
        if program == "python" and arguments[0] in ("train.py", "evaluate.py"):
            return self._start_script(arguments[0], arguments[1:], extra)
        if program == "python" and arguments[0] == "-m" and arguments[1] in MODULES:
            return call(MODULES[arguments[1]], arguments[1], arguments[2:])
        if program == "python" and arguments[0].endswith(".py"):
            script = self.folder / arguments[0]
            script = script if script.exists() else ROOT / arguments[0]
            return call(lambda: start_file(script), str(script), arguments[1:])
        if program in FILE_COMMANDS:
            done = subprocess.run(words, capture_output=True, text=True)
            return Outcome(done.returncode, done.stdout, done.stderr)
        raise AssertionError(
            f"expected a command that the test can run, found {command!r}: "
            "put <!-- not run: REASON --> above the block"
        )

    def _start_script(self, script: str, arguments: list[str], extra: list[str]) -> Outcome:
        settings = shrink_settings(script, arguments, self.text)
        if "--help" not in arguments:
            settings += extra
        is_new_run = script == "train.py" and not is_resumed(arguments)
        if is_new_run and not names_folder(arguments):
            # folders that are named by the second would be the same for two quick runs
            settings.append(f"hydra.run.dir=outputs/made_{self.n_runs}")
            self.n_runs += 1
        return here(script, *settings)


def split_commands(text: str) -> Iterator[str]:
    """Yield the commands of a block. A quoted text and a backslash continue a command."""
    waiting = ""
    for written in text.splitlines():
        line = COMMENT.sub("", f" {written}").strip()
        if line.endswith("\\"):
            waiting += line.removesuffix("\\")
            continue
        command = f"{waiting}{line}"
        if command.count("'") % 2 or command.count('"') % 2:
            waiting = f"{command} "
            continue
        waiting = ""
        if command:
            yield command
    assert not waiting, f"expected the end of the command {waiting!r}"


def shrink(text: str) -> str:
    """Replace the pairs of a block by `tiny`, and its layers by those that `tiny` has."""
    text = PAIRS.sub("tiny", text)
    numbers = sorted({int(found[2]) for found in LAYER.finditer(text)})
    return LAYER.sub(lambda found: f"{found[1]}.{int(int(found[2]) == numbers[-1])}", text)


def shrink_settings(script: str, arguments: list[str], text: Path) -> list[str]:
    """Return the arguments of a command with settings that make it small.

    Args:
        script: train.py or evaluate.py.
        arguments: The arguments as the page has them.
        text: A small file to train on, where the page does not choose any data.
    """
    if "--help" in arguments or is_resumed(arguments):
        return arguments
    given = dict(one.split("=", 1) for one in arguments if "=" in one)
    settings = list(arguments)
    if script == "train.py":
        settings.append("models=tiny")
        if "layer" in given:
            settings.append("layer=1")
        if not given.keys() & {"data", "debug", "organism"}:
            settings += choose_text(text)
        for setting in SMALL:
            name, value = setting.split("=")
            numbers = given.get(name, "").split(",")
            settings.append(f"{name}={','.join(make_values(value, len(numbers)))}")
    for name in list_evals(given.get("eval"), script):
        settings += [f"eval.{name}.{setting}" for setting in SMALL_EVALS.get(name, [])]
    return settings


def choose_text(path: Path) -> list[str]:
    """Return the settings of `train.py` with which it reads a file."""
    return ["data=files", f"data.corpora.0.paths=[{path}]", "data.seq_len=64"]


def make_values(value: str, n: int) -> list[str]:
    """Return `n` values of a sweep, the first of which is the small one."""
    return [value] if n == 1 else [str(int(value) + i) for i in range(n)]


def list_evals(chosen: str | None, script: str) -> list[str]:
    if chosen is None:
        return DEFAULT_EVALS[script]
    return [name for name in chosen.strip("[]").split(",") if name]


def is_resumed(arguments: list[str]) -> bool:
    return any(one.startswith("resume=") for one in arguments)


def names_folder(arguments: list[str]) -> bool:
    named = ("run=", "hydra.run.dir=", "-m", "--multirun")
    return any(one.startswith(named) for one in arguments)


def start_file(path: Path) -> None:
    runpy.run_path(str(path), run_name="__main__")


def call(main: Callable[[], None], name: str, arguments: list[str]) -> Outcome:
    """Call a command in this process."""
    code, out, err = 0, io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", [name, *arguments])
        patch.setitem(os.environ, "COLUMNS", "200")
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return Outcome(code, out.getvalue(), err.getvalue())
