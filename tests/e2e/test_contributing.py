"""CONTRIBUTING's walk through a new variant, followed to the letter in a copy of the project."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```", TEXT, re.S | re.M)
(COMMAND,) = re.findall(r"^python (train\.py .*\bunit_norm\b.*)$", TEXT, re.M)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with the files of the walk in it."""
    copy = tmp_path_factory.mktemp("walk") / "project"
    copy.mkdir()
    for part in ("crosscoder", "conf", "tests"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("train.py", "evaluate.py", "pyproject.toml"):
        shutil.copy(ROOT / part, copy / part)
    for path, text in BLOCKS:
        (copy / path).write_text(f"# {path}\n{text}" if path.endswith(".py") else text, encoding="utf-8")
    return copy


def test_it_is_ten_lines():
    (source,) = [text for path, text in BLOCKS if path == "crosscoder/constraints/unit_norm.py"]
    code = re.sub(r'""".*?"""', "", source.partition("@dataclass")[2], flags=re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10


def test_its_command_trains_what_it_says(project):
    from crosscoder.model import Crosscoder

    command = [sys.executable, *COMMAND.split(), "debug=smoke", "run=run"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    norms = Crosscoder.from_pretrained(project / "run").decoder_norms()
    assert norms.square().sum(0).detach().numpy() == pytest.approx(1, rel=1e-4)
    assert json.loads((project / "run" / "curves.json").read_text())[-1]["loss/energy"] > 0


def test_the_contract_tests_pick_it_up(project):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/contracts",
        "-k",
        "unit_norm and relu",
    ]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 1
