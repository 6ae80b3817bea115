"""README is true: its notebook block runs, its commands compose, its paths exist, its first lines are the set-up."""

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from crosscoder import Crosscoder, load_pair
from crosscoder.activations.batch_topk import BatchTopK
from tests.configs import composed
from tests.e2e.commands import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.S | re.M)
COMMANDS = re.findall(r"^(python (?:train|evaluate)\.py.*?)(?:  +#.*)?$", README, re.M)


def test_the_two_lines_are_in_the_first_screen():
    first = README.splitlines()[:20]
    assert any(line.startswith('pip install -e ".[demo]" && python train.py') for line in first)
    assert any(line.startswith('pip install -e ".[test]" && pytest') for line in first)


def test_the_notebook_block_runs(tmp_path, monkeypatch):
    (code,) = [block for language, block in BLOCKS if language == "python" and "load_pair" in block]
    pair = load_pair("tiny")
    Crosscoder(pair.sources(["resid_post.1"]), 32, BatchTopK(k=4)).save_pretrained(tmp_path / "crosscoder")
    monkeypatch.chdir(tmp_path)
    names = {"RUN": str(tmp_path)}
    exec(code.replace('"gemma3_270m"', '"tiny"'), names)
    assert names["code"].strings[0] == "<bos>"
    assert names["recon"].shape == (len(names["code"]), pair.sources(["resid_post.1"]).d_total)
    assert names["solo"].n_latents == 32


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command):
    _, script, *arguments = shlex.split(command)
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    single = [
        f"{override.key_or_group}={override.value().list[0] if override.is_choice_sweep() else override.get_value_string()}"
        if override.is_choice_sweep()
        else override.input_line
        for override in OverridesParser.create().parse_overrides(overrides)
    ]
    composed(*single, config=script.removesuffix(".py"))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()
