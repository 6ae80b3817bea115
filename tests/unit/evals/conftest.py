"""Contexts of evals: on the tiny pair, and on a small planted world."""

import pytest
from hydra.utils import instantiate

from crosscoder.analysis.analysis import Analysis
from crosscoder.data import Harvest
from crosscoder.data.synthetic.planted import Planted
from crosscoder.evals import EvalContext
from crosscoder.lm import Pair
from crosscoder.training import Recipe
from tests.helpers.configs import composed
from tests.unit.evals.tiny import tiny_context

SETTINGS = (
    "debug=smoke",
    "n_latents=80",
    "k=4",
    "train_tokens=200_000",
    "batch_size=256",
    "lr=5e-3",
)


@pytest.fixture(scope="module")
def context(tiny_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> EvalContext:
    """Return the context of an untrained crosscoder of the tiny pair, in a folder of its own."""
    return tiny_context(tiny_pair, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def planted_context(tmp_path_factory: pytest.TempPathFactory, tiny_pair: Pair) -> EvalContext:
    """Train a crosscoder on a small planted world; tests do not change it."""
    folder = tmp_path_factory.mktemp("run")
    world = Planted(width=32, shared=30, base_only=4, chat_only=6, active=3.0)
    sizes = {"train": 10_000, "validation": 1_000, "heldout": 3_000}
    splits = world.make_splits(tiny_pair, [], None, Harvest(folder), sizes)
    recipe: Recipe = instantiate(composed(*SETTINGS, f"run={folder}").recipe, _convert_="all")
    crosscoder, _ = recipe.train(splits.train, splits.validation, splits.sources, folder)
    crosscoder.provenance = splits.provenance()
    return EvalContext(
        crosscoder,
        splits.heldout,
        None,
        load_recipe=lambda: recipe,
        folder=folder,
        analysis=Analysis(n_resamples=20),
    )
