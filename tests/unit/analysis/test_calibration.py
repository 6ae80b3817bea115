"""q-values against a naive loop, and calls whose error rate is known."""

import itertools

import numpy as np
import pytest

from crosscoder.analysis.calibration import (
    FILE,
    MIN_DECOYS,
    Calibration,
    compute_q_values,
    select_leaning,
)
from crosscoder.analysis.rule import VerdictRule
from crosscoder.analysis.table import LatentTable
from crosscoder.errors import UserError

META = {"contrast": ["chat", "base"]}


def make_table(ratio, trace, write=None, cross=None, is_first=True) -> LatentTable:
    """Make a table of latents that lean to chat (or to base)."""
    ratio = np.asarray(ratio, dtype=float)
    n = len(ratio)
    write = np.zeros(n) if write is None else np.asarray(write, dtype=float)
    is_first = np.broadcast_to(is_first, n)
    cosine = np.divide(write, ratio, out=np.zeros(n), where=ratio > 0)
    columns = {
        "norm/chat": np.where(is_first, 1.0, ratio),
        "norm/base": np.where(is_first, ratio, 1.0),
        "nu/error/chat": np.asarray(trace, dtype=float),
        "nu/error/base": np.asarray(trace, dtype=float),
        "cosine": cosine,
        "max_cross_cosine": np.full(n, 0.2) if cross is None else np.asarray(cross, dtype=float),
        "n_active": np.full(n, 100),
        "dead": np.zeros(n, dtype=bool),
        "verdict": np.full(n, "undetermined", dtype=object),
    }
    return LatentTable.from_columns(columns, META)


def compute_naively(scores: list[float], decoys: dict[str, list[float]]) -> list[float]:
    """Compute q-values by loops over thresholds, as the formula in calibration.py says."""

    def estimate_fdr(threshold: float, kind: list[float], added: float) -> float:
        median = float(np.median(kind))
        share = sum(decoy > median for decoy in kind) / len(kind)
        n_null = len(scores)
        if share:
            n_null = min(n_null, (sum(score > median for score in scores) + 1) / share)
        passing = sum(decoy <= threshold for decoy in kind)
        n_called = sum(score <= threshold for score in scores)
        return n_null * (passing + added) / (len(kind) + 2 * added) / n_called

    together = list(itertools.chain(*decoys.values()))
    large = [kind for kind in decoys.values() if len(kind) >= MIN_DECOYS]
    found = []
    for score in scores:
        estimates = []
        for threshold in scores:
            if threshold >= score:
                worst = estimate_fdr(threshold, together, 0.5)
                for kind in large:
                    worst = max(worst, estimate_fdr(threshold, kind, 0.0))
                estimates.append(worst)
        found.append(min(1.0, *estimates))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_q_values_equal_those_of_a_naive_loop(seed):
    draw = np.random.default_rng(seed)
    scores = draw.exponential(2, 60).round(1)  # with ties
    decoys = {
        "rescaled": draw.exponential(5, 30).round(1).tolist(),
        "shifted": draw.exponential(8, 22).round(1).tolist(),
        "rotated": draw.exponential(1, 4).round(1).tolist(),
        "split": [],
    }
    found = compute_q_values(scores, decoys)
    np.testing.assert_allclose(found, compute_naively(scores.tolist(), decoys), rtol=1e-12)


def test_without_decoys_nothing_is_called():
    assert (compute_q_values(np.array([0.1, 0.2]), {}) == 1).all()
    assert (compute_q_values(np.array([0.1, 0.2]), {"rescaled": []}) == 1).all()
    assert len(compute_q_values(np.array([]), {"rescaled": [1.0] * 30})) == 0


@pytest.mark.parametrize("fdr", [0.05, 0.1])
def test_the_false_discovery_rate_is_kept_on_average(fdr):
    rates = []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        exclusive = draw.exponential(0.5, 60)
        null = 1 + draw.exponential(5, 80)
        decoys = {"rescaled": (1 + draw.exponential(5, 60)).tolist()}
        q = compute_q_values(np.concatenate([exclusive, null]), decoys)
        called = q <= fdr
        rates.append(called[60:].sum() / max(1, called.sum()))
    # all targets that are not exclusive are of the kind that decides: there is no reserve
    assert np.mean(rates) < 1.25 * fdr
    assert np.mean(rates) > fdr / 10  # and it is not kept by calling nothing


def fit(n: int = 40, seed: int = 0) -> tuple[Calibration, LatentTable]:
    """Calibrate by exclusive latents and rescaled decoys, whose gain is the ratio of norms."""
    draw = np.random.default_rng(seed)
    gains = 0.05 ** ((np.arange(n) + 0.5) / n)
    ratio = np.concatenate([np.abs(draw.normal(0.06, 0.02, n)), gains])
    trace = np.concatenate([draw.normal(-0.02, 0.01, n), gains - 0.02])
    write = np.concatenate([draw.normal(-0.01, 0.01, n), gains])
    table = make_table(ratio, trace, write)
    exclusive = np.arange(n)
    decoys = {"rescaled": np.arange(n, 2 * n)}
    return Calibration.fit(table, exclusive, decoys, {"pair": "a pair"}), table


def test_exclusive_latents_are_called_and_features_of_both_models_are_not():
    calibration, table = fit()
    called = calibration.apply(table, VerdictRule())["verdict"] == "chat-specific"
    assert called[:40].mean() > 0.9
    assert called[40:].sum() <= 3


def test_a_dead_latent_that_points_along_an_exclusive_feature_is_not_fitted():
    _, table = fit()
    trace = table["nu/error/chat"]
    dead = table["dead"]
    trace[:3] = np.nan
    dead[:3] = True
    with_dead = table.with_columns({"nu/error/chat": trace, "nu/error/base": trace, "dead": dead})
    fitted = Calibration.fit(with_dead, np.arange(40), {"rescaled": np.arange(40, 80)}, {})
    without = Calibration.fit(with_dead, np.arange(3, 40), {"rescaled": np.arange(40, 80)}, {})
    assert fitted == without
    assert np.isfinite(list(fitted.scales.values())).all()
    with pytest.raises(UserError, match="nothing to calibrate by"):
        Calibration.fit(with_dead, np.arange(3), {}, {})


def test_a_decoy_of_gain_1_is_never_called():
    calibration, _ = fit()
    shared = make_table(np.ones(30), np.ones(30), np.ones(30), np.full(30, np.nan))
    assert not select_leaning(shared).any()
    calibrated = calibration.apply(shared, VerdictRule(fdr=1.0))
    # even at a rate at which every leaning latent is called
    assert (calibrated["q/chat"] == 1).all()
    strict = calibration.apply(shared, VerdictRule(fdr=0.5))
    assert set(strict["verdict"]) == {"undetermined"}


def test_a_latent_is_judged_in_the_source_that_it_leans_to():
    calibration, table = fit()
    mirrored = make_table(
        table["norm/base"],
        table["nu/error/chat"],
        table["norm/base"] * table["cosine"],
        is_first=False,
    )
    of_chat = calibration.apply(table, VerdictRule())
    of_base = calibration.apply(mirrored, VerdictRule())
    np.testing.assert_allclose(of_chat["q/chat"], of_base["q/base"])
    assert (of_chat["q/base"] == 1).all()
    assert set(of_base["verdict"]) == {"undetermined", "base-specific"}


def test_a_direction_that_another_latent_writes_into_the_other_source_is_not_called():
    calibration, table = fit()
    cross = np.full(len(table), 0.2)
    cross[:5] = 0.99
    decoupled = table.with_columns({"max_cross_cosine": cross})
    assert (calibration.score(decoupled)[:5] > 10).all()


def test_the_published_verdict_is_kept_and_a_second_calibration_replaces_the_first():
    calibration, table = fit()
    verdict = table["verdict"]
    verdict[0] = "shrunk"
    verdict[50] = "chat-specific"
    table = table.with_columns({"verdict": verdict})
    once = calibration.apply(table, VerdictRule(fdr=0.2))
    assert once["verdict"][50] == "undetermined"
    assert once["verdict/published"][50] == "chat-specific"
    twice = calibration.apply(once, VerdictRule(fdr=0.2))
    assert (twice["verdict"] == once["verdict"]).all()
    nothing = calibration.apply(once, VerdictRule(fdr=0.0))
    assert nothing["verdict"][0] == "shrunk"
    assert nothing.meta["calibration"]["fdr"] == 0.0


def test_latents_that_are_rarely_active_are_not_called():
    calibration, table = fit()
    rare = table.with_columns({"n_active": np.full(len(table), 9)})
    assert (calibration.apply(rare, VerdictRule())["q/chat"] == 1).all()


def test_a_file_gives_the_same_calibration(tmp_path):
    calibration, table = fit()
    calibration.save(tmp_path)
    loaded = Calibration.load(tmp_path)
    assert loaded == calibration
    np.testing.assert_array_equal(loaded.score(table), calibration.score(table))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "centres"),
        (
            '{"centres": {}, "scales": {"ratio": 1.0}, "decoys": {}, "meta": {}}',
            "expected as scales a positive number for each of ratio, trace, write, cross",
        ),
        (
            '{"centres": {}, "scales": {"ratio": 1, "trace": 1, "write": 1, "cross": 0},'
            ' "decoys": {}, "meta": {}}',
            "positive number",
        ),
        (
            '{"centres": {"trace": 0}, "scales": {"ratio": 1, "trace": 1, "write": 1, "cross": 1},'
            ' "decoys": {}, "meta": {}}',
            "expected as centres trace, write and cross",
        ),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content, message):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(UserError, match=message):
        Calibration.load(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=FILE):
        Calibration.load(tmp_path)
