"""A finished run of the tiny pair, made once, for the blocks of all pages."""

import json
from pathlib import Path

import pytest

from tests.docs.running import SMALL_EVALS, TEXT, choose_text
from tests.e2e.commands import SMALL, here

EVALS = ("reconstruction", "splice", "diff")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Train with the tiny pair on a text beside the run, and evaluate."""
    folder = tmp_path_factory.mktemp("finished") / "RUN"
    text = folder.with_name(TEXT)
    rows = [{"text": f"Line {i} says that {i} times {i} is {i * i}. " * 3} for i in range(400)]
    text.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    # many latents: pages name some of them by number
    settings = ["models=tiny", *choose_text(text), *SMALL, "n_latents=1024"]
    outcome = here("train.py", *settings, f"run={folder}")
    assert outcome.code == 0, outcome.err
    settings = [f"eval=[{','.join(EVALS)}]"]
    for name in EVALS:
        settings += [f"eval.{name}.{setting}" for setting in SMALL_EVALS.get(name, [])]
    outcome = here("evaluate.py", f"crosscoder={folder}", *settings)
    assert outcome.code == 0, outcome.err
    return folder
