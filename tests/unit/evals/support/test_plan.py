"""Evals that train crosscoders say so first, with the time at the run's own rate."""

from dataclasses import replace

import pytest
from hydra.utils import instantiate

from crosscoder.errors import NotApplicable
from crosscoder.evals.support.auxiliary import train_auxiliary
from crosscoder.evals.support.plan import Plan, format_minutes, plan_evals
from tests.helpers.configs import composed
from tests.unit.evals.tiny import tiny_context


@pytest.fixture(scope="module")
def context(tiny_pair, tmp_path_factory):
    return tiny_context(tiny_pair, tmp_path_factory.mktemp("run"))


def build(*overrides: str) -> dict:
    evals = composed("crosscoder=x", *overrides, config="evaluate").eval
    return {name: instantiate(node, _convert_="all") for name, node in evals.items()}


def test_evals_that_train_count_their_crosscoders(context):
    evals = build(
        "eval=[density,nulls,stability,layers,compare]",
        "eval.stability.seeds=2",
        "eval.layers.layers=[0,1]",
        "eval.layers.train_tokens=500",
    )
    plan = plan_evals(evals, context, 10.0)
    assert {name: list(tokens) for name, tokens in plan.tokens.items()} == {
        "density": [],
        "nulls": [640, 640, 213],  # the tiny pair has no adapter with a sibling
        "stability": [640, 640],
        "layers": [500, 500],
        "compare": [640],
    }
    assert plan.has_training
    assert plan.trains_nothing == ["density"]
    rows = dict(plan.describe())
    assert rows["density"] == ""
    assert rows["nulls"].startswith("trains 3 crosscoders")
    assert rows["compare"] == (
        "needs the language models; trains 1 crosscoder (640 tokens), about 1 min"
    )


def test_settings_of_the_eval_count(context):
    evals = build("eval=[nulls,compare]", "eval.nulls.train_tokens=100", "reference=hf://a/b")
    plan = plan_evals(evals, context, 10.0)
    assert list(plan.tokens["nulls"]) == [100, 100, 64]  # the last one has a batch at least
    assert list(plan.tokens["compare"]) == []


def test_what_cannot_be_trained_is_not_counted(context):
    provenance = context.crosscoder.provenance | {"train": None}
    crosscoder = context.crosscoder.replace()
    crosscoder.provenance = provenance
    streamed = replace(context, crosscoder=crosscoder)
    with pytest.raises(NotApplicable):
        streamed.open_stores()
    evals = build("eval=[nulls,stability]")
    assert not plan_evals(evals, streamed, 10.0).has_training
    assert not plan_evals(evals, replace(context, load_recipe=None), 10.0).has_training


def test_crosscoders_that_were_trained_before_are_not_counted(tiny_pair, tmp_path):
    context = tiny_context(tiny_pair, tmp_path)
    evals = build(
        "eval=[nulls,stability,layers,compare]",
        "eval.stability.seeds=2",
        "eval.stability.train_tokens=128",
        "eval.nulls.train_tokens=128",
        "+eval.compare.reference.train_tokens=128",
        "eval.layers={layers: [0], n_tokens: 256, n_heldout: 64, n_latents: 16, train_tokens: 128}",
    )
    before = plan_evals(evals, context, 10.0)
    assert {name: len(tokens) for name, tokens in before.tokens.items()} == {
        "nulls": 3,
        "stability": 2,
        "layers": 1,
        "compare": 1,
    }
    for one in evals.values():
        one(context)
    after = plan_evals(evals, context, 10.0)
    assert {name: len(tokens) for name, tokens in after.tokens.items()} == dict.fromkeys(evals, 0)
    others = build(
        "eval=[nulls,stability]",
        "eval.stability.seeds=3",
        "eval.stability.train_tokens=128",
        "eval.nulls.controls.0.n=8",
        "eval.nulls.train_tokens=128",
    )
    counts = {name: len(n) for name, n in plan_evals(others, context, 10.0).tokens.items()}
    assert counts == {"nulls": 1, "stability": 1}


def test_a_kept_crosscoder_that_was_deleted_is_trained_again(context):
    evals = build("eval=[stability]", "eval.stability.train_tokens=64", "eval.stability.seeds=1")
    train_auxiliary(context, context.open_stores(), "seed1", 1, train_tokens=64)
    assert not plan_evals(evals, context, 10.0).has_training
    [config] = (context.folder / "beside").glob("seed1-*/crosscoder/config.json")
    config.unlink()
    assert plan_evals(evals, context, 10.0).has_training


def test_evals_that_need_language_models_say_so(context):
    evals = build(
        "eval=[reconstruction,splice,layers,behaviour,ablation,steering,patching,equivalence,"
        "stability,nulls,compare,diff,density]"
    )
    plan = plan_evals(evals, context, None)
    assert set(evals) - set(plan.with_models) == {"reconstruction", "stability", "nulls", "density"}
    assert dict(plan.describe())["splice"] == "needs the language models"
    assert dict(plan.describe())["layers"].startswith("needs the language models; trains 2")
    without = plan_evals(evals, replace(context, pair=None), None)
    assert not {"diff", "compare"} & set(without.with_models)


def test_the_total_names_the_evals_that_train():
    plan = Plan({"diff": [], "nulls": [3_000_000] * 4, "layers": [500_000]}, 10_000.0)
    assert plan.describe_total() == "5 crosscoders, about 21 min (nulls, layers)"


def test_without_a_rate_the_time_is_unknown():
    plan = Plan({"nulls": [10, 20]}, None)
    assert plan.describe() == [
        (
            "nulls",
            "trains 2 crosscoders (30 tokens in all), how long is unknown: the run's rate is not "
            "in its metrics.json",
        )
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3, "less than 1 min"),
        (60, "about 1 min"),
        (25 * 60 + 8, "about 25 min"),
        (7800, "about 2 h 10 min"),
    ],
)
def test_durations_are_rough(seconds, text):
    assert format_minutes(seconds) == text
