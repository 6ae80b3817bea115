"""Null controls end to end on a small planted world."""

import copy
import dataclasses
import json

import pytest

from crosscoder.analysis.calibration import Calibration
from crosscoder.data.synthetic.plants import KINDS
from crosscoder.errors import NotApplicable
from crosscoder.evals.nulls import NullsEval
from crosscoder.evals.support.controls import Noise, Planted, Reseed, Shuffled


@pytest.mark.long
def test_each_rule_is_counted_on_this_pair_and_on_the_controls(planted_context):
    controls = [Planted(n=8), Noise(), Shuffled(), Reseed()]
    context = dataclasses.replace(planted_context, calibrations=[])
    result = NullsEval(controls)(context)
    rates = {name for name in result.scalars if name.startswith("false_positive_rate/")}
    assert rates <= {f"false_positive_rate/{kind}" for kind in KINDS[1:]}
    assert "false_positive_rate/rescaled" in rates
    assert set(result.scalars) - rates == {
        "false_exclusive_rate/noise",
        "exclusive_rate/shuffled",
        "exclusive_rate/this_pair",
        "recall_planted",
    }
    assert all(0 <= value <= 1 for value in result.scalars.values())
    assert len(result.tables["rules"]) == 6
    assert result.tables["rules"][0]["rule"] == "verdict"
    (by_norm,) = [row for row in result.tables["rules"] if row["rule"].startswith("Δ > 0.9")]
    # the verdict sees that both models have the shuffled directions
    assert by_norm["shuffled"] > 0.5
    assert [row["control"] for row in result.tables["verdicts"]] == [
        "this pair",
        "planted",
        "noise",
        "shuffled",
    ]
    assert all(set(row) == set(result.tables["verdicts"][0]) for row in result.tables["verdicts"])
    assert [row["score"] for row in result.tables["scores"]][-1] == "calibrated"
    assert sum(row["exclusive"] for row in result.tables["by density"]) == 8
    json.dumps(result.tables)


@pytest.mark.long
def test_the_calibration_is_saved_and_serves_later_evals(planted_context):
    context = dataclasses.replace(planted_context, calibrations=[])
    assert "q/chat" not in context.latent_table.columns
    published = context.latent_table["verdict"]
    NullsEval([Planted(n=8)])(context)
    table = context.latent_table
    assert (table["verdict/published"] == published).all()
    assert table.meta["calibration"]["fdr"] == context.analysis.rule.fdr
    is_called = table["q/chat"] <= context.analysis.rule.fdr
    assert ((table["verdict"] == "chat-specific") == is_called).all()
    saved = Calibration.load(context.folder)
    later = dataclasses.replace(planted_context, calibrations=[saved])
    assert (later.latent_table["verdict"] == table["verdict"]).all()


def test_it_says_if_the_training_activations_are_gone(planted_context):
    crosscoder = copy.deepcopy(planted_context.crosscoder)
    crosscoder.provenance = {"train": "/no/such/folder"}
    context = dataclasses.replace(planted_context, crosscoder=crosscoder)
    with pytest.raises(NotApplicable, match="/no/such/folder"):
        NullsEval([Noise()])(context)
