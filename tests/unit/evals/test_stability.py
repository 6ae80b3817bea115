"""The stability eval: other seeds, and crosscoders that are the same in another order."""

import json

import pytest

from crosscoder.analysis.table import LatentTable
from crosscoder.core.init import TransposedDecoder
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.evals import stability as module
from crosscoder.evals.stability import StabilityEval
from crosscoder.evals.support.measured import TABLE, make_measured_columns


@pytest.fixture
def without_training(planted_context, monkeypatch) -> list[int]:
    """Return the crosscoder itself for every seed; list the seeds."""
    seeds = []

    def load(context, stores, name, seed, sources, **settings) -> Crosscoder:
        seeds.append(seed)
        return context.crosscoder

    monkeypatch.setattr(module, "train_auxiliary", load)
    return seeds


def test_every_live_latent_is_found_again_in_the_same_crosscoder(planted_context, without_training):
    result = StabilityEval(seeds=3)(planted_context)
    assert without_training == result.meta["seeds"] == [1, 2, 3]
    table = planted_context.latent_table
    joined = table.with_columns(make_measured_columns(table, result.tables[TABLE]))
    alive = ~table["dead"]
    assert (joined["found_again"][alive] == 1).all()
    assert joined["matched_cosine"][alive] == pytest.approx(1, abs=1e-5)
    assert LatentTable(joined.frame[table["dead"]])["found_again"].tolist() == [
        pytest.approx(float("nan"), nan_ok=True)
    ] * int(table["dead"].sum())
    assert result.scalars["found_again/all"] == 1
    assert not [key for key in result.scalars if key.startswith("unmatched")]
    assert result.tables["unmatched"] == []
    assert json.dumps(result.tables)


def test_a_latent_s_probability_is_the_fraction_of_crosscoders_that_have_it(
    planted_context, without_training, monkeypatch
):
    cosines = iter((0.9, 0.1, 0.8, 0.8))
    match = module.Pairing.match

    def with_cosine(own, other, found):
        paired = match(own, other, found)
        paired.cosines[5] = next(cosines)
        return paired

    monkeypatch.setattr(module.Pairing, "match", with_cosine)
    result = StabilityEval(seeds=4, found=0.7)(planted_context)
    row = next(row for row in result.tables[TABLE] if row["latent"] == 5)
    assert row["found_again"] == 0.75
    assert row["matched_cosine"] == pytest.approx(0.65)


def test_the_seed_of_the_crosscoder_itself_is_not_used_again(planted_context, without_training):
    recipe = planted_context.load_recipe().replace(seed=2)
    context = module.EvalContext(
        planted_context.crosscoder,
        planted_context.heldout,
        None,
        load_recipe=lambda: recipe,
        folder=planted_context.folder,
        analysis=planted_context.analysis,
    )
    StabilityEval(seeds=2)(context)
    assert without_training == [1, 3]


class SameDirections(TransposedDecoder):
    """An initialiser that ignores the seed."""

    def __call__(self, sources, n_latents, generator=None):
        return super().__call__(sources, n_latents, generator.manual_seed(0))


def test_the_result_says_what_the_seed_varied(planted_context, without_training, monkeypatch):
    varied = StabilityEval(seeds=1)(planted_context).meta["varied"]
    assert varied == ["initial directions", "order of the tokens"]
    recipe = planted_context.load_recipe().replace(init=SameDirections())
    context = module.EvalContext(
        planted_context.crosscoder,
        planted_context.heldout,
        None,
        load_recipe=lambda: recipe,
        folder=planted_context.folder,
        analysis=planted_context.analysis,
    )
    assert StabilityEval(seeds=1)(context).meta["varied"] == ["order of the tokens"]


@pytest.mark.parametrize("settings", [{"seeds": 0}, {"energy": 0.0}, {"energy": 1.5}, {"found": 2}])
def test_settings_are_refused(settings):
    with pytest.raises(UserError, match=rf"eval\.stability\.{next(iter(settings))}"):
        StabilityEval(**settings)


@pytest.mark.long
def test_it_trains_other_seeds_and_compares_by_class(planted_context):
    result = StabilityEval(seeds=2)(planted_context)
    keys = {"cosine/all", "cosine/shared", "cosine/chat_specific", "found_again/all"}
    assert keys <= set(result.scalars)
    assert result.scalars["found_again/chat_specific"] > 0.8
    assert {"seed 1", "seed 2"} <= set(result.tables["classes"][0])
    assert 0 < result.scalars["found_again/all"] < 1
    assert 0 <= result.scalars["unmatched_overlap/all"] <= 1
