import numpy as np
import pytest

from crosscoder.analysis.table import LatentTable
from crosscoder.evals.support.latent_sets import (
    draw_random_sets,
    group_by_verdict,
    halve_latents,
    take_first_latents,
)


@pytest.fixture
def table() -> LatentTable:
    verdicts = np.array(["shared", "rewritten", "shared", "dead", "shared", "rewritten", "shrunk"])
    columns = {
        "verdict": verdicts,
        "dead": verdicts == "dead",
        "difference_energy": np.array([0.1, 0.7, 0.3, 9.0, 0.2, 0.5, 0.6]),
    }
    return LatentTable.from_columns(columns, {"contrast": ["chat", "base"]})


def test_classes_hold_the_live_latents_of_each_verdict_the_largest_class_first(table):
    groups = group_by_verdict(table)
    assert list(groups) == ["shared", "rewritten", "shrunk"]
    assert groups == {"shared": [0, 2, 4], "rewritten": [1, 5], "shrunk": [6]}


def test_the_first_latents_are_those_with_the_largest_difference_energy(table):
    assert take_first_latents(table, [2, 4, 50]) == {"top 2": [1, 6], "top 4": [1, 6, 5, 2]}


def test_halves_cover_the_live_latents_once(table):
    halves = halve_latents(table, n_random=2, seed=0)
    assert halves["top half by difference energy"] == [1, 6, 5]
    assert halves["bottom half by difference energy"] == [2, 4, 0]
    assert "top half by Δ" not in halves  # the table has no such column
    for draw in (1, 2):
        assert len(halves[f"random half {draw}"]) == 3
        assert 3 not in halves[f"random half {draw}"]


def test_random_sets_have_the_sizes_of_the_sets_and_no_dead_latent(table):
    sets = {"shared": [0, 2, 4], "top 2": [1, 6]}
    drawn = draw_random_sets(table, sets, n_random=3, seed=0)
    assert len(drawn) == 6
    assert set(drawn) > {("shared", 2), ("top 2", 0)}
    for (name, _), latents in drawn.items():
        assert len(latents) == len(set(latents)) == len(sets[name])
        assert 3 not in latents
    assert len({tuple(latents) for latents in drawn.values()}) > 2
    assert drawn == draw_random_sets(table, sets, n_random=3, seed=0)
    assert drawn != draw_random_sets(table, sets, n_random=3, seed=1)
