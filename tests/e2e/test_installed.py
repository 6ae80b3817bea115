"""The package outside of its clone: an installed wheel, and Python started next to the clone."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.e2e.commands import ROOT, Outcome, surroundings
from tests.helpers.project import copy_project

pytestmark = pytest.mark.long

DOCUMENT = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", DOCUMENT, re.S | re.M)
SMALL_RUN = [
    "debug=smoke",
    "eval=[]",
    "n_tokens=2000",
    "train_tokens=4000",
    "n_latents=32",
    "logger=none",
]


class Environment:
    """A virtual environment, and an empty folder in which its programs are started."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self.work = folder / "work"
        self.work.mkdir()
        subprocess.run([sys.executable, "-m", "venv", self.bin.parent], check=True)
        self.site = Path(sysconfig.get_path("purelib", vars={"base": str(self.bin.parent)}))

    def run(self, *command: str | Path, folder: Path | None = None) -> Outcome:
        """Run a command in which nothing leads to the clone of these tests."""
        environment = surroundings() | {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "CROSSCODER_CACHE": str(self.work.parent / "cache"),
            "COLUMNS": "100",
        }
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder or self.work,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return Outcome(done.returncode, done.stdout, done.stderr)


def list_files(folder: Path) -> set[tuple[Path, int]]:
    """List files with the times of their last change, without those that Python compiled."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            found.add((path, path.stat().st_mtime_ns))
    return found


def simplify(line: str) -> str:
    """Return a line of output without what differs between two runs: figures and widths."""
    words = re.sub(r"\d[\d.,]*", "0", line)
    return re.sub(r"([─━ ])\1+", r"\1", words).strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Environment:
    """Build the wheel from a copy of the project, and install it with all that it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = Environment(folder)
    pip = [environment.bin / "python", "-m", "pip"]
    environment.run(*pip, "wheel", "--no-deps", "-w", folder, copy_project(folder / "project"))
    (wheel,) = folder.glob("*.whl")
    environment.run(*pip, "install", f"{wheel}[sweeps,slurm]")
    shutil.rmtree(folder / "project")
    return environment


def test_the_documented_commands_give_the_documented_output(installed):
    before = list_files(installed.site / "crosscoder")
    assert BLOCKS
    for block in BLOCKS:
        command, *documented = block.splitlines()
        printed = installed.run(*shlex.split(command.removeprefix("$ "))).out.splitlines()
        printed_lines = {simplify(line) for line in printed}
        for line in documented:
            is_printed = simplify(line) in printed_lines
            assert is_printed or line == "…", (command, line)
    assert list_files(installed.site / "crosscoder") == before


def test_python_imports_the_wheel(installed):
    code = (
        "import importlib.metadata, crosscoder; from crosscoder.lm.loading.load import LM\n"
        "assert importlib.metadata.version('crosscoder') == crosscoder.__version__\n"
        "print(crosscoder.__file__)\n"
        "print(list(crosscoder.load_pair('tiny').lms))\n"
        "print(LM('pinned:gemma-3-270m').find('crosscoder/organisms/expertise/adapter'))"
    )
    package = installed.site / "crosscoder"
    lines = installed.run("python", "-c", code).out.splitlines()
    assert lines == [
        f"{package / '__init__.py'}",
        "['base', 'chat']",
        f"{package / 'organisms/expertise/adapter'}",
    ]


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_launchers_start_jobs_of_the_console_script(installed, launcher):
    arguments = ["-m", f"hydra/launcher={launcher}", "k=3,4", f"hydra.sweep.dir={launcher}"]
    outcome = installed.run("crosscoder-train", *arguments, *SMALL_RUN)
    assert "Sweep of 2 runs" in outcome.out


def test_torchrun_starts_the_console_script(installed):
    start = "torchrun --nproc-per-node 2 --no-python crosscoder-train run=two"
    outcome = installed.run(*start.split(), *SMALL_RUN)
    assert "crosscoder-evaluate crosscoder=two" in outcome.out


def test_python_next_to_the_clone_imports_the_package(tmp_path):
    environment = Environment(tmp_path)
    # what the package depends on is found where these tests find it
    folders = [path for path in sys.path if path.endswith("site-packages")]
    (environment.site / "dependencies.pth").write_text("\n".join(folders))
    clone = copy_project(tmp_path / "crosscoder")
    pip = ["python", "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    environment.run(*pip, "-e", clone)
    code = "from crosscoder import Crosscoder; import crosscoder; print(crosscoder.__file__)"
    outcome = environment.run("python", "-c", code, folder=tmp_path)
    assert outcome.out.strip() == str(clone / "crosscoder" / "__init__.py")
    outcome = environment.run("crosscoder-train", "--help", folder=tmp_path)
    assert "crosscoder-train -m sweep=pareto" in outcome.out
