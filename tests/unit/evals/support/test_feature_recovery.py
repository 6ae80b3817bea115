"""A crosscoder made from the truth is perfect by every measure; changes to it show."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.table import LatentTable
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.model import Crosscoder
from crosscoder.data import Harvest
from crosscoder.data.synthetic.planted import BASE_ONLY, CHAT_ONLY, Planted
from crosscoder.evals.support.feature_recovery import FeatureRecovery

WORLD = Planted(width=40, shared=20, base_only=6, chat_only=8, rescaled=4, active=3.0, noise=0.01)


@pytest.fixture(scope="module")
def store(cache, tiny_pair):
    return WORLD.make_splits(
        tiny_pair,
        [],
        None,
        Harvest(cache / "truth"),
        {"train": 500, "validation": 200, "heldout": 3000},
    ).heldout


@pytest.fixture(scope="module")
def crosscoder(store) -> Crosscoder:
    """Return a crosscoder that reads each feature by least squares and writes it as it is.

    Four more latents never fire.
    """
    truth = WORLD.truth()
    write = torch.cat(
        [
            truth["gains"][0][:, None] * truth["directions"],
            truth["gains"][1][:, None] * truth["chat_directions"],
        ],
        1,
    )
    read = torch.linalg.pinv(write).T
    n = len(write)
    spare = torch.randn(4, 80, generator=torch.Generator().manual_seed(0)) / 80
    weights = (
        torch.cat([read, spare]),
        torch.cat([torch.zeros(n), torch.full((4,), -100.0)]),
        torch.cat([write, spare]),
    )
    return Crosscoder.from_weights(
        store.sources,
        (*weights, torch.zeros(80)),
        JumpReLU.from_threshold(torch.full((n + 4,), 0.25)),
    )


@pytest.fixture(scope="module")
def table(crosscoder, store) -> LatentTable:
    return Analysis(n_resamples=20).make_table(crosscoder, store)


def test_the_truth_is_found_completely(crosscoder, table):
    found = FeatureRecovery(crosscoder, WORLD.truth(), table)
    assert found.partner.tolist() == list(range(38))
    scalars = found.match_scalars()
    assert scalars["mcc"] == pytest.approx(1)
    assert scalars.pop("twins") == 0
    assert {key: value for key, value in scalars.items() if key != "mcc"} == dict.fromkeys(
        ("found", "found/shared", "found/base_only", "found/chat_only", "found/rescaled"), 1
    )
    by_rule = {(row["rule"], row["source"]): row for row in found.score_rules()}
    assert by_rule["Δ > 0.9", "chat"]["recall"] == 1
    for row in found.score_rankings():
        assert row["ap"] == pytest.approx(1)
        assert row["auroc"] == pytest.approx(1)
    assert sum(row["features"] for row in found.score_deciles()) == 14


def test_weak_shared_features_cost_precision(crosscoder, table):
    """Gains down to 0.05: below 0.2 a norm rule calls a rescaled feature exclusive."""
    weak = WORLD.truth()["gains"][0, -4:] < 0.2
    row = next(
        row
        for row in FeatureRecovery(crosscoder, WORLD.truth(), table).score_rules()
        if row["rule"] == "Δ > 0.9"
    )
    assert row["called"] == 8 + int(weak.sum())
    assert row["precision"] == pytest.approx(8 / row["called"])


def test_features_without_a_latent_are_not_recalled(crosscoder, table):
    truth = WORLD.truth()
    missing = crosscoder.replace()
    with torch.no_grad():
        lost = (truth["classes"] == CHAT_ONLY).nonzero()[:4, 0]
        missing.W_dec = torch.nn.Parameter(missing.W_dec.clone().index_fill_(0, lost, 1e-6))
    found = FeatureRecovery(missing, truth, table)
    assert found.match_scalars()["found/chat_only"] == 0.5
    chat = next(row for row in found.score_rankings() if row["source"] == "chat")
    assert chat["ap"] <= 0.5
    row = next(row for row in found.score_rules() if row["rule"] == "Δ > 0.9")
    assert row["recall"] == 0.5
    assert row["f1"] == pytest.approx(2 * row["precision"] * 0.5 / (row["precision"] + 0.5))


def test_a_feature_that_two_latents_write_has_twins(crosscoder, table):
    double = crosscoder.replace()
    with torch.no_grad():
        double.W_dec = torch.nn.Parameter(double.W_dec.clone())
        double.W_dec[-1] = 2 * double.W_dec[3]
    assert FeatureRecovery(double, WORLD.truth(), table).match_scalars()["twins"] == pytest.approx(
        1 / 38
    )


def test_without_ties_rankings_are_scored_as_by_scikit_learn(crosscoder, table):
    found = FeatureRecovery(crosscoder, WORLD.truth(), table)
    score = np.random.default_rng(0).random(42)
    alive = ~table["dead"]
    positive = np.zeros(42, dtype=bool)
    positive[found.partner[found.classes == BASE_ONLY]] = True
    row = found._score_ranking(score, BASE_ONLY)
    assert row["ap"] == pytest.approx(average_precision_score(positive[alive], score[alive]))
    assert row["auroc"] == pytest.approx(roc_auc_score(positive[alive], score[alive]))


def test_confusion_counts_every_feature(crosscoder, table):
    rows = FeatureRecovery(crosscoder, WORLD.truth(), table).count_confusion()
    counts = {
        row["feature"]: sum(value for key, value in row.items() if key != "feature") for row in rows
    }
    assert counts == {"shared": 20, "base_only": 6, "chat_only": 8, "rescaled": 4}


def test_sizes_may_be_log_normal():
    base, _ = replace(WORLD, spread=0.5, exponent=1.0).sample_strengths(20_000, "train")
    sizes = base[:, WORLD.truth()["gains"][0] == 1]
    sizes = sizes[sizes > 0]
    assert float(sizes.log().std()) == pytest.approx(0.5, rel=0.03)
    assert float(sizes.mean()) == pytest.approx(1, rel=0.03)
