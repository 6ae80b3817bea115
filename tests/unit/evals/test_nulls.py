"""Null controls end to end on a small planted world: what is trained, what is counted, what is kept."""

import json
from dataclasses import dataclass

import pytest
import torch
from hydra.utils import instantiate

from crosscoder.data import Harvest
from crosscoder.data.planted import Planted as World
from crosscoder.diff.analysis import Analysis
from crosscoder.diff.table import LatentTable
from crosscoder.errors import NotApplicable
from crosscoder.evals import Subject
from crosscoder.evals.beside import trained_beside
from crosscoder.evals.controls import Noise, Planted, Reseed, Shuffled
from crosscoder.evals.density import DensityEval
from crosscoder.evals.nulls import NullsEval, rules_of
from crosscoder.evals.stability import StabilityEval, matched
from crosscoder.training import Recipe
from tests.configs import composed

ANALYSIS = Analysis(n_resamples=20)


@pytest.fixture(scope="module")
def subject(tmp_path_factory, tiny_pair) -> Subject:
    folder = tmp_path_factory.mktemp("run")
    world = World(width=32, shared=30, base_only=4, chat_only=6, active=3.0)
    splits = world.stores(
        tiny_pair, [], None, Harvest(folder), {"train": 10_000, "validation": 1_000, "heldout": 3_000}
    )
    settings = ("debug=smoke", "n_latents=80", "k=4", "train_tokens=200_000", "batch_size=256", "lr=5e-3")
    recipe: Recipe = instantiate(composed(*settings, f"run={folder}").recipe, _convert_="all")
    crosscoder, _ = recipe(splits.train, splits.validation, splits.sources, folder)
    crosscoder.provenance = splits.provenance()
    return Subject(crosscoder, splits.heldout, None, 0, lambda: recipe, folder)


def test_each_rule_is_counted_on_this_pair_and_on_the_controls(subject):
    controls = [Noise(), Shuffled(), Planted(n=8), Reseed()]
    result = NullsEval(ANALYSIS, controls)(subject)
    assert set(result.scalars) == {
        "false_exclusive_rate/noise",
        "exclusive_rate/shuffled",
        "exclusive_rate/this_pair",
        "recall_planted",
    }
    assert all(0 <= value <= 1 for value in result.scalars.values())
    assert len(result.tables["rules"]) == 6
    verdict = result.tables["rules"][0]
    assert verdict["rule"] == "verdict"
    assert 8 <= verdict["this pair"] <= 10  # of four of the base and six of chat
    (by_norm,) = [row for row in result.tables["rules"] if row["rule"].startswith("Δ > 0.9")]
    # the verdict sees that both models have the shuffled directions, and calls them decoupled
    assert by_norm["shuffled"] > 0.5
    # in this world the difference is so large that its noise is exclusive, too: less so by the verdict
    assert result.scalars["false_exclusive_rate/noise"] < by_norm["noise"]
    assert result.scalars["recall_planted"] >= 0.5
    assert [row["control"] for row in result.tables["verdicts"]] == ["this pair", "noise", "shuffled", "planted"]
    assert all(set(row) == set(result.tables["verdicts"][0]) for row in result.tables["verdicts"])
    assert sum(row["features"] for row in result.tables["planted"]) == 8
    assert sum(row["called exclusive"] for row in result.tables["planted"]) == round(
        8 * result.scalars["recall_planted"]
    )
    json.dumps(result.tables)


def test_what_was_trained_is_found_again(subject, monkeypatch):
    first = NullsEval(ANALYSIS, [Shuffled()])(subject)

    @dataclass(frozen=True)
    class Never(Recipe):
        def __call__(self, *_, **__):
            raise AssertionError("it is trained already")

    monkeypatch.setattr(Recipe, "__call__", Never.__call__)
    assert NullsEval(ANALYSIS, [Shuffled()])(subject).scalars == first.scalars
    with pytest.raises(AssertionError):
        NullsEval(ANALYSIS, [Shuffled()], train_tokens=1000)(subject)


def test_planted_features_are_found_by_direction(subject):
    control = Planted(n=8)
    table = ANALYSIS(subject.crosscoder, subject.heldout)
    plant = control.plant(subject, table)
    crosscoder = subject.crosscoder
    assert (control.finders(plant, crosscoder) == -1).float().mean() > 0.5  # it was not trained on them
    with torch.no_grad():
        decoder = crosscoder.decoder("chat").clone()
        crosscoder.W_dec[5, crosscoder.sources.slice("chat")] = 3 * plant.directions[2]
        assert control.finders(plant, crosscoder)[2] == 5
        crosscoder.W_dec[:, crosscoder.sources.slice("chat")] = decoder


def test_a_pair_without_a_known_sibling_has_no_reseed_control(subject):
    assert Reseed({"a": "b"}).stores(subject, LatentTable.of({}, {})) is None


def test_without_the_recipe_or_the_training_activations_it_says_so(subject):
    bare = Subject(subject.crosscoder, subject.heldout, None)
    with pytest.raises(NotApplicable, match="how this crosscoder was trained"):
        trained_beside(bare, (subject.heldout, subject.heldout), "x", 0)
    provenance, subject.crosscoder.provenance = subject.crosscoder.provenance, {"train": "/no/such/folder"}
    with pytest.raises(NotApplicable, match="/no/such/folder"):
        NullsEval(ANALYSIS, [Noise()])(subject)
    subject.crosscoder.provenance = provenance


def test_rules_are_ours_and_every_papers():
    assert next(iter(rules_of(("chat", "base")))) == "verdict"
    assert list(rules_of(("chat", "base")))[1] == "presence"
    assert len(rules_of(("chat", "base"))) == 6


def test_density_is_the_median_of_each_class(subject):
    result = DensityEval(ANALYSIS)(subject)
    table = ANALYSIS(subject.crosscoder, subject.heldout)
    for name in ("chat-specific", "shared"):
        median = float(table.frame[table["verdict"] == name]["density"].median())
        assert result.scalars[f"density/{name.replace('-', '_')}"] == pytest.approx(median)
    assert result.scalars["density_ratio/shared"] == 1
    rows = [row for row in result.tables["classes"] if row["by"] == "verdict"]
    assert sum(row["latents"] for row in rows) == int((~table["dead"]).sum())


def test_a_crosscoder_is_found_again_in_itself_whatever_its_latents_order(subject):
    crosscoder = subject.crosscoder
    assert matched(crosscoder, crosscoder) == pytest.approx(1, abs=1e-5)
    order = torch.randperm(crosscoder.n_latents)
    with torch.no_grad():
        before = crosscoder.W_dec.clone()
        other = type(crosscoder)(
            crosscoder.sources, crosscoder.n_latents, crosscoder.activation, init=lambda *_: (before, before[order])
        )
        other.set_units(crosscoder.mean, crosscoder.scale)
    assert matched(crosscoder, other) == pytest.approx(1, abs=1e-5)


def test_stability_trains_other_seeds_and_looks_by_class(subject):
    result = StabilityEval(ANALYSIS, seeds=2)(subject)
    assert {"cosine/all", "cosine/shared", "cosine/chat_specific", "found_again/all"} <= set(result.scalars)
    assert result.scalars["found_again/chat_specific"] > 0.8
    assert {"seed 1", "seed 2"} <= set(result.tables["classes"][0])
