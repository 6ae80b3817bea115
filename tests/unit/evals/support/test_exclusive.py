import numpy as np

from crosscoder.analysis.table import LatentTable
from crosscoder.evals.support.exclusive import exclusive_rate, exclusive_rules


def test_rules_are_ours_and_those_of_every_paper():
    rules = list(exclusive_rules(("chat", "base")))
    assert rules[:2] == ["verdict", "presence"]
    assert len(rules) == 6


def test_the_rate_is_among_live_latents():
    columns = {
        "verdict": ["chat-specific", "base-specific", "shared", "shared", "dead"],
        "dead": [False, False, False, False, True],
    }
    table = LatentTable.from_columns(columns, {})
    rule = exclusive_rules(("chat", "base"))["verdict"]
    calls = rule(table)
    assert calls["chat"].tolist() == [True, False, False, False, False]
    assert calls["base"].tolist() == [False, True, False, False, False]
    assert exclusive_rate(calls, table) == 0.5


def test_the_rate_is_0_if_no_latent_is_alive():
    table = LatentTable.from_columns({"dead": np.array([True, True])}, {})
    assert exclusive_rate({"chat": np.zeros(2, bool)}, table) == 0
