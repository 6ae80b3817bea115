"""Language models are configured without importing transformers, which takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = ("transformers", "peft", "datasets", "tokenizers", "huggingface_hub")


def find_imported(code: str) -> set[str]:
    """Return the heavy packages that a program imports."""
    program = f"import sys\n{code}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.long
def test_pairs_are_built_without_transformers():
    code = """
from crosscoder.lm import LM, Pair, TinyLM, load_pair
load_pair("gemma3_270m", device="cpu")
load_pair("tiny")
spec = load_pair("gemma2_2b", device="cpu").spec()
Pair.from_spec(spec, "cpu", is_trusted=False)
LM("google/gemma-2-2b").spec()
TinyLM(seed=0).fingerprint()
"""
    assert find_imported(code) == set()


@pytest.mark.long
def test_a_model_imports_transformers_when_it_is_loaded():
    code = "from crosscoder.lm import TinyLM\nTinyLM(seed=0).load()"
    assert "transformers" in find_imported(code)


@pytest.mark.long
def test_transformers_is_silenced_when_a_model_is_loaded():
    code = """
from crosscoder.lm import TinyLM
TinyLM(seed=0).load_tokenizer()
from transformers.utils import logging
assert logging.get_verbosity() == logging.ERROR
assert not logging.is_progress_bar_enabled()
"""
    find_imported(code)
