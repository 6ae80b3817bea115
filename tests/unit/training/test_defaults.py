"""The defaults of `Recipe` are those of conf/train.yaml."""

from dataclasses import fields

import lightning
import pytest
from hydra.utils import instantiate

from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.training import Recipe
from tests.helpers.configs import composed

# of what has no equality, what makes two of them equal
PARTS = {
    "activation": lambda activation: activation.spec(),
    "optimizer": lambda make: (make.func, {**make.keywords, "betas": list(make.keywords["betas"])}),
    "exclude": list,
    "trainer": lambda make: make(max_steps=3),
}


@pytest.fixture
def recipes(monkeypatch) -> tuple[Recipe, Recipe]:
    """Return the recipe of the configuration and the default one, with trainers that are dicts."""
    monkeypatch.setattr(lightning, "Trainer", dict)
    configured = instantiate(composed("run=none").recipe, _convert_="all")
    return configured, Recipe()


@pytest.mark.parametrize("name", [field.name for field in fields(Recipe)])
def test_a_default_is_that_of_the_configuration(recipes, name):
    read = PARTS.get(name, lambda value: value)
    configured, default = (read(getattr(recipe, name)) for recipe in recipes)
    assert default == configured


def test_recipes_share_no_activation():
    assert Recipe().activation is not Recipe().activation


def test_defaults_train(planted_splits, tmp_path):
    recipe = Recipe(n_latents=32, train_tokens=2560, batch_size=128, activation=BatchTopK(3))
    train, validation = planted_splits.train, planted_splits.validation
    crosscoder, figures = recipe.train(train, validation, planted_splits.sources, str(tmp_path))
    assert crosscoder.folded
    assert figures["train_tokens"] == 2560
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
