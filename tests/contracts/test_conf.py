"""Every file in conf/ composes, builds its objects and trains a crosscoder that loads."""

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
from omegaconf import OmegaConf

from crosscoder.behaviours.spec import BehaviourSpec
from crosscoder.cli.train import main as train
from crosscoder.core.model import Crosscoder
from crosscoder.data.corpora import text as text_module
from crosscoder.lm import Pair, TinyLM
from tests.helpers.configs import CONF, GROUPS, choices, composed
from tests.helpers.partners import overrides_for

DEFAULTS = [
    entry
    for entry in yaml.safe_load((CONF / "train.yaml").read_text())["defaults"]
    if isinstance(entry, dict)
]
MANY = {
    group: chosen
    for entry in DEFAULTS
    for group, chosen in entry.items()
    if isinstance(chosen, list)
}
EVERY_FILE = [(group, name) for group in GROUPS for name in choices(group)]


@pytest.fixture(autouse=True)
def offline(monkeypatch, rows) -> None:
    """Replace hub data sets by a few rows, and Python's docs by its language reference.

    Parsing the documentation of the whole library takes long.
    """
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows * 10)
    monkeypatch.setattr(text_module, "read_library_docs", lambda _: ())


@pytest.fixture
def saved(monkeypatch) -> Iterator[list[Crosscoder]]:
    """Collect the crosscoders that are saved, as they were in memory."""
    crosscoders, save = [], Crosscoder.save_pretrained

    def remember(crosscoder: Crosscoder, folder: str | Path) -> Path:
        crosscoders.append(crosscoder.fold())
        return save(crosscoder, folder)

    monkeypatch.setattr(Crosscoder, "save_pretrained", remember)
    return crosscoders


def finite(figures: dict) -> bool:
    return all(math.isfinite(value) for value in figures.values() if not isinstance(value, str))


def choices_with(group: str, name: str) -> dict[str, str]:
    """Return a choice with those it needs; where several can be chosen, it joins the defaults."""
    if group in ("activation", "loss"):
        return overrides_for(group, name, MANY)
    if (group, name) == ("eval", "recovery"):  # it compares with planted features
        return {"eval": "[reconstruction,recovery]", "data": "planted"}
    if group in MANY:
        return {group: f"[{','.join(dict.fromkeys([*MANY[group], name]))}]"}
    return {group: name}


@pytest.mark.long
@pytest.mark.parametrize(("group", "name"), EVERY_FILE)
def test_every_choice_trains_and_its_saved_crosscoder_loads(config_of, saved, group, name):
    config = config_of(**choices_with(group, name))
    pair = instantiate(config.models, _convert_="all")
    if not all(isinstance(lm, TinyLM) for lm in pair.lms.values()):
        pytest.skip("its models are not on this machine; composed and built only")
    train(config)

    run = Path(config.run)
    metrics = json.loads((run / "metrics.json").read_text())
    assert finite(metrics)
    assert metrics["train_tokens"] > 0
    curves = json.loads((run / "curves.json").read_text())
    terms = {key for key in curves[-1] if key.startswith("loss/")}
    assert terms == {f"loss/{key}" for key in config.loss}
    results = [json.loads(path.read_text()) for path in (run / "results").glob("*.json")]
    assert sorted(result["name"] for result in results) == sorted(config.eval)
    assert all(finite(result["scalars"]) and result["scalars"] for result in results)

    loaded = Crosscoder.from_pretrained(run)
    kept = saved[0]  # crosscoders that evals train are saved later
    raw = loaded.mean + loaded.scale * torch.randn(50, loaded.sources.d_total)
    assert torch.equal(loaded.encode(raw).to_dense(), kept.encode(raw).to_dense())
    assert torch.equal(loaded.decode(loaded.encode(raw)), kept.decode(kept.encode(raw)))


@pytest.mark.parametrize("name", choices("models"))
def test_every_pair_is_a_base_and_its_chat_model(name):
    pair = instantiate(composed(f"models={name}").models, _convert_="all")
    assert isinstance(pair, Pair)
    assert set(pair.diff_pair) <= set(pair.lms)
    assert pair.layer >= 0
    assert Pair.from_spec(pair.spec()).spec() == pair.spec()


@pytest.mark.parametrize(("group", "name"), [file for file in EVERY_FILE if file[0] in MANY])
def test_choices_that_can_be_combined_have_a_package_line(group, name):
    chosen = composed(f"{group}=[{name}]")[group]
    assert len(chosen) == 1
    assert all("_target_" in part for part in chosen.values())


@pytest.mark.parametrize("name", choices("eval"))
def test_every_eval_is_a_choice_of_evaluate_too(name):
    assert list(composed(f"eval=[{name}]", config="evaluate").eval) == [name]


@pytest.mark.parametrize("name", choices("behaviour"))
def test_every_behaviour_is_a_choice_of_evaluate_too(name, answers):
    behaviour = composed(f"behaviour={name}", config="evaluate")
    for key in OmegaConf.missing_keys(behaviour.behaviour):
        OmegaConf.update(behaviour, key, answers[key])
    spec = instantiate(behaviour.behaviour, _convert_="all")
    assert isinstance(spec, BehaviourSpec)
    assert spec.framing != spec.control


@pytest.mark.parametrize("name", choices("organism"))
def test_every_organism_sets_models_data_and_behaviour(name):
    config = composed(f"organism={name}")
    assert all(config[group]["_target_"] for group in ("models", "data", "behaviour"))


@pytest.mark.parametrize("name", choices("hydra/launcher"))
def test_every_launcher_builds_a_plugin_of_hydra(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        launcher = compose(
            "train", overrides=[f"hydra/launcher={name}"], return_hydra_config=True
        ).hydra.launcher
    if "${missing:" in str(launcher._get_node("_target_")):
        pytest.skip("its plugin is not installed")
    assert isinstance(Plugins.instance()._instantiate(launcher), Launcher)


@pytest.mark.parametrize(
    "file", sorted(CONF.rglob("*.yaml")), ids=lambda file: str(file.relative_to(CONF))
)
def test_every_file_begins_with_a_comment_on_its_purpose(file):
    comments = [line for line in file.read_text().splitlines()[:2] if line.startswith("# ")]
    assert any(not line.startswith("# @package") for line in comments)
