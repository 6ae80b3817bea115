"""What a recipe says of itself, so that others like it can be trained beside it."""

import pytest
from hydra.utils import instantiate

from crosscoder.core.model import Crosscoder
from crosscoder.data.exclude import OUTLIER
from crosscoder.training import read_settings
from tests.helpers.configs import composed


@pytest.mark.parametrize(
    ("provenance", "settings"),
    [
        ({"settings": ["k=3"], "exclude": ["special", "outlier"]}, ["k=3"]),
        (
            {"settings": ["k=3"]},
            ["k=3", "exclude=[special]"],
        ),  # of a version that did not know outliers
        ({"settings": []}, ["exclude=[special]"]),
        ({"settings": ["exclude=[]"]}, ["exclude=[]"]),
        ({}, []),  # of somebody else, whose settings nobody knows
    ],
)
def test_an_older_crosscoder_was_trained_on_outliers(provenance, settings):
    assert read_settings(provenance) == settings


@pytest.mark.parametrize("exclude", [["special", "outlier"], ["special"]])
def test_a_crosscoder_remembers_what_it_was_trained_without(planted_splits, tmp_path, exclude):
    small = (
        "n_latents=32",
        "k=3",
        "batch_size=128",
        "train_tokens=256",
        f"exclude=[{','.join(exclude)}]",
    )
    recipe = instantiate(composed(*small, f"run={tmp_path}").recipe, _convert_="all")
    train, validation = planted_splits.train, planted_splits.validation
    crosscoder, _ = recipe.train(train, validation, planted_splits.sources, tmp_path)
    said = Crosscoder.from_pretrained(
        crosscoder.save_pretrained(tmp_path / "crosscoder")
    ).provenance
    assert said["exclude"] == exclude
    limits = {name: OUTLIER * train.median_norm(name) for name in ("base", "chat")}
    assert said["outliers"] == (
        {"above": OUTLIER, "norms": limits} if "outlier" in exclude else None
    )
