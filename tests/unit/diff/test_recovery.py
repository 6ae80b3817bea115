"""A crosscoder made from the truth is perfect by every measure; taking something away shows where it should."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.data import Harvest
from crosscoder.data.planted import BASE_ONLY, CHAT_ONLY, Planted
from crosscoder.diff.analysis import Analysis
from crosscoder.diff.recovery import Recovery
from crosscoder.diff.table import LatentTable
from crosscoder.model import Crosscoder

WORLD = Planted(width=40, shared=20, base_only=6, chat_only=8, rescaled=4, active=3.0, noise=0.01)


@pytest.fixture(scope="module")
def store(cache, tiny_pair):
    return WORLD.stores(
        tiny_pair, [], None, Harvest(cache / "truth"), {"train": 500, "validation": 200, "heldout": 3000}
    ).heldout


@pytest.fixture(scope="module")
def crosscoder(store) -> Crosscoder:
    """Writes each feature as it is, and reads it by least squares; four more latents never fire."""
    truth = WORLD.truth()
    write = torch.cat(
        [truth["gains"][0][:, None] * truth["directions"], truth["gains"][1][:, None] * truth["chat_directions"]], 1
    )
    read = torch.linalg.pinv(write).T
    n, spare = len(write), torch.randn(4, 80, generator=torch.Generator().manual_seed(0)) / 80
    weights = torch.cat([read, spare]), torch.cat([torch.zeros(n), torch.full((4,), -100.0)]), torch.cat([write, spare])
    return Crosscoder.of(store.sources, (*weights, torch.zeros(80)), JumpReLU.of(torch.full((n + 4,), 0.25)))


@pytest.fixture(scope="module")
def table(crosscoder, store) -> LatentTable:
    return Analysis(n_resamples=20)(crosscoder, store)


def test_the_truth_is_found_whole(crosscoder, table):
    found = Recovery(crosscoder, WORLD.truth(), table)
    assert found.partner.tolist() == list(range(38))
    scalars = found.scalars()
    assert scalars["mcc"] == pytest.approx(1)
    assert scalars.pop("twins") == 0
    assert {key: value for key, value in scalars.items() if key != "mcc"} == dict.fromkeys(
        ("found", "found/shared", "found/base_only", "found/chat_only", "found/rescaled"), 1
    )
    by_rule = {(row["rule"], row["source"]): row for row in found.judged()}
    assert by_rule["Δ > 0.9", "chat"]["recall"] == 1
    for row in found.ranked():
        assert row["ap"] == pytest.approx(1)
        assert row["auroc"] == pytest.approx(1)
    assert sum(row["features"] for row in found.by_decile()) == 14


def test_weak_shared_features_cost_precision(crosscoder, table):
    """Gains down to 0.05: below 0.2 a norm rule calls a rescaled feature exclusive."""
    weak = WORLD.truth()["gains"][0, -4:] < 0.2
    row = next(row for row in Recovery(crosscoder, WORLD.truth(), table).judged() if row["rule"] == "Δ > 0.9")
    assert row["called"] == 8 + int(weak.sum())
    assert row["precision"] == pytest.approx(8 / row["called"])


def test_features_without_a_latent_are_not_recalled(crosscoder, table):
    truth = WORLD.truth()
    missing = crosscoder.but()
    with torch.no_grad():
        lost = (truth["classes"] == CHAT_ONLY).nonzero()[:4, 0]
        missing.W_dec = torch.nn.Parameter(missing.W_dec.clone().index_fill_(0, lost, 1e-6))
    found = Recovery(missing, truth, table)
    assert found.scalars()["found/chat_only"] == 0.5
    chat = next(row for row in found.ranked() if row["source"] == "chat")
    assert chat["ap"] <= 0.5
    row = next(row for row in found.judged() if row["rule"] == "Δ > 0.9")
    assert row["recall"] == 0.5
    assert row["f1"] == pytest.approx(2 * row["precision"] * 0.5 / (row["precision"] + 0.5))


def test_a_feature_that_two_latents_write_has_twins(crosscoder, table):
    double = crosscoder.but()
    with torch.no_grad():
        double.W_dec = torch.nn.Parameter(double.W_dec.clone())
        double.W_dec[-1] = 2 * double.W_dec[3]
    assert Recovery(double, WORLD.truth(), table).scalars()["twins"] == pytest.approx(1 / 38)


def test_ranking_is_scikit_learns(crosscoder, table):
    found = Recovery(crosscoder, WORLD.truth(), table)
    score = np.random.default_rng(0).random(42)
    alive = ~table["dead"]
    positive = np.zeros(42, dtype=bool)
    positive[found.partner[found.classes == BASE_ONLY]] = True
    row = found._ranked(score, BASE_ONLY)
    assert row["ap"] == pytest.approx(average_precision_score(positive[alive], score[alive]))
    assert row["auroc"] == pytest.approx(roc_auc_score(positive[alive], score[alive]))


def test_confusion_counts_every_feature(crosscoder, table):
    rows = Recovery(crosscoder, WORLD.truth(), table).confusion()
    counts = {row["feature"]: sum(value for key, value in row.items() if key != "feature") for row in rows}
    assert counts == {"shared": 20, "base_only": 6, "chat_only": 8, "rescaled": 4}


def test_sizes_may_be_log_normal():
    base, _ = replace(WORLD, spread=0.5, exponent=1.0).strengths(20_000, "train")
    sizes = base[:, WORLD.truth()["gains"][0] == 1]
    sizes = sizes[sizes > 0]
    assert float(sizes.log().std()) == pytest.approx(0.5, rel=0.03)
    assert float(sizes.mean()) == pytest.approx(1, rel=0.03)
