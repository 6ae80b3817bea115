"""Every file in conf/ composes, builds what it names, and trains a crosscoder that is saved and loaded."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate

import train
from crosscoder.data import text as text_module
from crosscoder.lm import Pair, TinyLM
from crosscoder.model import Crosscoder
from tests.configs import CONF, GROUPS, choices, composed

DEFAULTS = [entry for entry in yaml.safe_load((CONF / "train.yaml").read_text())["defaults"] if isinstance(entry, dict)]
MANY = {group: chosen for entry in DEFAULTS for group, chosen in entry.items() if isinstance(chosen, list)}
# what else must be chosen for a choice to make sense (training/sense.py)
BESIDE = {
    ("activation", "relu"): {"loss": "[squared,l1]"},
    ("activation", "jumprelu"): {"loss": "[squared,l0]"},
    ("activation", "gated"): {"loss": "[squared,gate]"},
    ("loss", "l0"): {"activation": "jumprelu"},
    ("loss", "pre_act"): {"activation": "jumprelu", "loss": "[squared,l0,pre_act]"},
    ("loss", "gate"): {"activation": "gated"},
    ("loss", "covariance"): {"loss": "[squared,covariance]"},
    ("loss", "matryoshka"): {"loss": "[matryoshka,auxk]"},
}
EVERY_FILE = [(group, name) for group in GROUPS for name in choices(group)]


@pytest.fixture(autouse=True)
def offline(monkeypatch, rows) -> None:
    """Hub data sets give a few rows, and Python's docs are only its language reference: parsing the library takes long."""
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows * 10)
    monkeypatch.setattr(text_module, "_library_docs", lambda _: ())


@pytest.fixture
def saved(monkeypatch) -> Iterator[list[Crosscoder]]:
    """The crosscoders that were saved, as they were in memory."""
    crosscoders, save = [], Crosscoder.save_pretrained

    def remember(crosscoder: Crosscoder, folder: str | Path) -> Path:
        crosscoders.append(crosscoder.fold())
        return save(crosscoder, folder)

    monkeypatch.setattr(Crosscoder, "save_pretrained", remember)
    return crosscoders


def finite(figures: dict) -> bool:
    return all(math.isfinite(value) for value in figures.values() if not isinstance(value, str))


@pytest.mark.parametrize(("group", "name"), EVERY_FILE)
def test_every_choice_trains_and_what_is_saved_loads(config_of, saved, group, name):
    # where several can be chosen, this one beside the defaults
    chosen = f"[{','.join(dict.fromkeys([*MANY[group], name]))}]" if group in MANY else name
    config = config_of(**({group: chosen} | BESIDE.get((group, name), {})))
    pair = instantiate(config.models, _convert_="all")
    if not all(isinstance(lm, TinyLM) for lm in pair.lms.values()):
        pytest.skip("its models are not on this machine; composed and built only")
    train.main(config)

    run = Path(config.run)
    metrics = json.loads((run / "metrics.json").read_text())
    assert finite(metrics)
    assert metrics["train_tokens"] > 0
    results = [json.loads(path.read_text()) for path in (run / "results").glob("*.json")]
    assert sorted(result["name"] for result in results) == sorted(config.eval)
    assert all(finite(result["scalars"]) and result["scalars"] for result in results)

    loaded, kept = Crosscoder.from_pretrained(run), saved[0]  # what evals train beside it comes after
    raw = loaded.mean + loaded.scale * torch.randn(50, loaded.sources.d_total)
    assert torch.equal(loaded.encode(raw).to_dense(), kept.encode(raw).to_dense())
    assert torch.equal(loaded.decode(loaded.encode(raw)), kept.decode(kept.encode(raw)))


@pytest.mark.parametrize("name", choices("models"))
def test_every_pair_is_a_base_and_its_chat_model(name):
    pair = instantiate(composed(f"models={name}").models, _convert_="all")
    assert isinstance(pair, Pair)
    assert set(pair.contrast) <= set(pair.lms)
    assert pair.layer >= 0
    assert Pair(**pair.spec()).spec() == pair.spec()


@pytest.mark.parametrize(("group", "name"), [file for file in EVERY_FILE if file[0] in MANY])
def test_choices_that_can_be_combined_name_their_place(group, name):
    chosen = composed(f"{group}=[{name}]")[group]
    assert len(chosen) == 1
    assert all("_target_" in part for part in chosen.values())


@pytest.mark.parametrize("name", choices("eval"))
def test_every_eval_is_a_choice_of_evaluate_too(name):
    assert list(composed(f"eval=[{name}]", config="evaluate").eval) == [name]


@pytest.mark.parametrize("name", choices("hydra/launcher"))
def test_every_launcher_is_what_a_plugin_of_hydras_takes(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        launcher = compose("train", overrides=[f"hydra/launcher={name}"], return_hydra_config=True).hydra.launcher
    if "${missing:" in str(launcher._get_node("_target_")):
        pytest.skip("its plugin is not installed")
    assert isinstance(Plugins.instance()._instantiate(launcher), Launcher)


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: str(file.relative_to(CONF)))
def test_every_file_says_in_its_first_lines_what_it_is(file):
    comments = [line for line in file.read_text().splitlines()[:2] if line.startswith("# ")]
    assert any(not line.startswith("# @package") for line in comments)
