"""The worked examples of docs/how-to/extend.md, followed to the letter in a copy of the project."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.e2e.commands import ROOT, SMALL
from tests.helpers.foreign import write
from tests.helpers.model_folders import CHATML, save_llama
from tests.helpers.project import COMPILED, copy_project

TEXT = (ROOT / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (.*)$", TEXT, re.M)
BLOCKS = re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```", TEXT, re.S | re.M)
COMMANDS = re.findall(r"^python .*$", TEXT, re.M)
FILES = re.findall(r"^<!-- file: (\S+) -->\n```json\n(.*?)^```", TEXT, re.S | re.M)
DESCRIPTIONS = "crosscoder/analysis/descriptions.py"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Copy the project, and add the files of the page."""
    copy = copy_project(tmp_path_factory.mktemp("extended") / "project")
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=COMPILED)
    shutil.copytree(ROOT / "benchmarks", copy / "benchmarks", ignore=COMPILED)
    for path, text in BLOCKS:
        if path == DESCRIPTIONS:
            add_descriptions(copy / path, text)
            continue
        assert not (copy / path).exists()
        (copy / path).write_text(
            f"# {path}\n{text}" if path.endswith(".py") else text, encoding="utf-8"
        )
    for name, text in FILES:
        (copy / name).write_text(text, encoding="utf-8")
    return copy


def add_descriptions(path: Path, text: str) -> None:
    """Add lines at the beginning of DESCRIPTIONS."""
    first = "DESCRIPTIONS: tuple[ColumnDescription, ...] = (\n"
    before, first, after = path.read_text(encoding="utf-8").partition(first)
    assert first
    path.write_text(before + first + text + after, encoding="utf-8")


def run(project: Path, script: str, *settings: str) -> str:
    """Run the one command of the page that contains some text; return what it prints."""
    (command,) = [command for command in COMMANDS if script in command]
    words = shlex.split(command)[1:]
    done = subprocess.run(
        [sys.executable, *words, *settings], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def smoke_run(project) -> Path:
    """Train with the page's loss term and constraint."""
    run(project, "constraint=[unit_norm]", "debug=smoke", "run=outputs/RUN")
    return project / "outputs" / "RUN"


def test_there_is_an_example_of_every_kind_of_extension():
    kinds = ["Activation", "Constraint", "Loss term", "Column of the table of latents", "Eval"]
    assert [*kinds, "Weight layout", "Pair", "Behaviour"] == SECTIONS
    assert len(COMMANDS) == 5


def test_the_constraint_and_the_loss_term_train(smoke_run):
    from crosscoder.core.model import Crosscoder

    norms = Crosscoder.from_pretrained(smoke_run).decoder_norms()
    assert norms.square().sum(0).detach().numpy() == pytest.approx(1, rel=1e-4)
    assert json.loads((smoke_run / "curves.json").read_text())[-1]["loss/energy"] > 0


def test_the_activation_trains_and_is_saved(project):
    run(project, "activation=above_threshold", "debug=smoke", "run=outputs/above")
    config = json.loads((project / "outputs" / "above" / "crosscoder" / "config.json").read_text())
    assert config["activation"] == {"name": "above_threshold", "threshold": 0.1}


def test_the_eval_and_the_column_are_in_the_results(project, smoke_run):
    from crosscoder import LatentTable

    run(project, "concentration")
    scalars = json.loads((smoke_run / "results" / "concentration.json").read_text())["scalars"]
    table = LatentTable.load(smoke_run / "results" / "latents.parquet")
    largest = table.top("difference_share", 10)["difference_share"]
    assert scalars == {"share@10": pytest.approx(largest.sum())}
    assert abs(table["alignment/chat"]).max() <= 1 + 1e-5


def test_the_layout_is_read(project):
    weights = {
        "enc": torch.randn(4, 6),
        "enc_bias": torch.randn(6),
        "dec": torch.randn(6, 4),
        "dec_bias": torch.randn(4),
    }
    write(project / "pocket_folder", {"pocket.json": {"layer": 3}, "pocket.safetensors": weights})
    out = run(project, "crosscoder.formats")
    assert re.search(r"latents +6\n", out)
    assert re.search(r"activation +relu\n", out)
    assert "resid_post.3" in out


def test_the_pair_and_the_behaviour_are_evaluated(project):
    for seed, name in enumerate(("base", "chat")):
        save_llama(project / "models" / name, template=CHATML, seed=seed)
    lines = [f'{{"text": "Line {i} says that {i} times {i} is {i * i}."}}\n' for i in range(900)]
    (project / "text.jsonl").write_text("".join(lines))
    limits = ["eval.behaviour.n_questions=2", "eval.behaviour.max_new_tokens=4"]
    run(project, "behaviour=agreement", *SMALL, *limits, "run=outputs/pair")
    result = json.loads((project / "outputs" / "pair" / "results" / "behaviour.json").read_text())
    assert {"agrees_rate/base/claim", "agrees_rate/chat/bare"} <= set(result["scalars"])


def test_the_contract_tests_pick_them_up(project):
    choices = "unit_norm and relu or energy and topk or above_threshold and squared or alignment"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/contracts",
        "tests/unit/analysis/test_descriptions.py",
        "-k",
        f"({choices} or concentration or agreement) and not document",
    ]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 5
