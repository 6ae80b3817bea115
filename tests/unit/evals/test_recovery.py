"""The recovery eval on a small planted world, and on what is none."""

import math

import pytest
from hydra.utils import instantiate

from crosscoder.analysis.analysis import Analysis
from crosscoder.core.activations.topk import TopK
from crosscoder.data import Harvest
from crosscoder.data.synthetic.planted import Planted
from crosscoder.errors import NotApplicable
from crosscoder.evals import EvalContext, Result
from crosscoder.evals.recovery import RecoveryEval
from crosscoder.evals.support.feature_recovery import FeatureRecovery
from tests.helpers.configs import composed
from tests.helpers.small import crosscoder_of, store_of

WORLD = Planted(width=12, shared=10, base_only=3, chat_only=4, active=2.0)
ANALYSIS = Analysis(n_resamples=5)


@pytest.fixture(scope="module")
def store(cache, tiny_pair):
    sizes = {"train": 100, "validation": 50, "heldout": 600}
    return WORLD.make_splits(tiny_pair, [], None, Harvest(cache / "recovery_eval"), sizes).heldout


@pytest.fixture(scope="module")
def context(store) -> EvalContext:
    crosscoder = crosscoder_of(TopK(3), (12, 12), n_latents=24)
    crosscoder.sources = store.sources
    return EvalContext(crosscoder.fold(), store, None, analysis=ANALYSIS)


@pytest.fixture(scope="module")
def result(context) -> Result:
    return RecoveryEval()(context)


def test_its_figures_are_those_of_the_matched_features(result, context, store):
    table = ANALYSIS.make_table(context.crosscoder, store)
    recovery = FeatureRecovery(context.crosscoder, WORLD.truth(), table)
    scalars = result.scalars
    for key, value in recovery.match_scalars().items():
        assert scalars[key] == value
    rule = recovery.score_rules()[0]
    assert (rule["rule"], rule["source"]) == ("Δ > 0.9", "chat")
    for key in ("precision", "recall", "f1"):
        assert scalars[f"{key}/delta_norm/chat"] == rule[key]
    ranking = recovery.score_rankings()[-1]
    assert (ranking["by"], ranking["source"]) == ("presence", "base")
    assert scalars["ap/presence/base"] == ranking["ap"]
    assert result.tables["confusion"] == recovery.count_confusion()


def test_every_rule_and_score_is_in_the_scalars_of_both_sources(result):
    for source in ("chat", "base"):
        for rule in ("delta_norm", "relative_norm", "verdict", "presence"):
            keys = {f"{figure}/{rule}/{source}" for figure in ("precision", "recall", "f1")}
            assert keys <= result.scalars.keys()


def test_an_undefined_figure_is_left_out_with_a_reason(result):
    """An untrained crosscoder finds no feature, so that no ranking has an AUROC."""
    assert all(math.isfinite(value) for value in result.scalars.values())
    assert result.scalars["found"] == 0
    assert "nothing to rank" in result.meta["left_out"]["auroc/presence/chat"]


def test_activations_that_are_not_planted_do_not_suit_it(tmp_path, context):
    acts = {name: context.heldout.acts(0, [name]) for name in ("base", "chat")}
    other = EvalContext(context.crosscoder, store_of(tmp_path, acts, [600]), None)
    with pytest.raises(NotApplicable, match="data=planted"):
        RecoveryEval()(other)


def test_a_crosscoder_of_one_stream_does_not_suit_it(store):
    crosscoder = crosscoder_of(TopK(3), (12,), n_latents=8)
    with pytest.raises(NotApplicable, match="base and chat"):
        RecoveryEval()(EvalContext(crosscoder.fold(), store, None))


def test_its_yaml_builds_it():
    config = composed("eval=[recovery]", config="evaluate")
    assert instantiate(config.eval.recovery, _convert_="all") == RecoveryEval()
