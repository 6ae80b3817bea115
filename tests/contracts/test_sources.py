"""No source of the package loads code from a file.

Ruff's S rules find pickle, marshal, eval, exec and unsafe YAML. The rest is found here.
"""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "crosscoder").rglob("*.py"), ROOT / "train.py", ROOT / "evaluate.py"])
UNSAFE = re.compile(
    r"^(import|from) (pickle|cPickle|_pickle|dill|cloudpickle|joblib|shelve|marshal)\b"
    r"|^from (torch|numpy) import .*\bload\b"  # whose calls would not be seen
    r"|^import (torch|numpy) as (?!np$)"
    r"|\.(load_from_checkpoint|read_pickle|to_pickle)\("
    r"|trust_remote_code'?[=:] ?(?!False)"
)
# calls that are safe with these arguments
REQUIRED = {
    "torch.load(": "weights_only=True",
    "np.load(": "allow_pickle=False",
    "numpy.load(": "allow_pickle=False",
    "ckpt_path=": "weights_only=True",
}


def find_unsafe(source: str) -> list[str]:
    """Return the statements of a source that would run code which a file holds."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call | ast.Dict):
            text = ast.unparse(node)
            lacks = [
                call for call, needed in REQUIRED.items() if call in text and needed not in text
            ]
            if lacks or UNSAFE.search(text):
                found.append(text)
    return found


def test_no_source_loads_code():
    assert len(SOURCES) > 100
    found = {}
    for path in SOURCES:
        statements = find_unsafe(path.read_text(encoding="utf-8"))
        if statements:
            found[str(path.relative_to(ROOT))] = statements
    assert found == {}


RULES = ("S102", "S301", "S302", "S307", "S506")


def test_ruff_finds_the_other_ways_in_all_sources():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lint = settings["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not set(RULES) & set(lint["ignore"])
    for files, rules in lint["per-file-ignores"].items():
        assert "S" not in rules or files in ("tests/**", "benchmarks/**")
    switched_off = re.compile(rf"noqa: .*\b({'|'.join(RULES)})\b")
    for path in SOURCES:
        assert not switched_off.search(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import dill as d",
        "import torch\ntorch.load(path)",
        "import torch as t",
        "torch.load(path, weights_only=False)",
        "from torch import load",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "options = {'trust_remote_code': ask}",
        "trainer.fit(module, ckpt_path=path)",
        "Module.load_from_checkpoint(path)",
    ],
)
def test_a_source_that_would_load_code_is_found(planted):
    assert len(find_unsafe(planted)) == 1


def test_safe_ways_are_not_found():
    fine = [
        "import torch",
        "import numpy as np",
        "from torch import Tensor",
        "model.eval()",
        "torch.load(path, weights_only=True)",
        "f(trust_remote_code=False)",
        "trainer.fit(module, ckpt_path=p, weights_only=True)",
    ]
    assert find_unsafe("\n".join(fine)) == []
