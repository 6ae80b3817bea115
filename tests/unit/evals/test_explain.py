import numpy as np
import pytest

from crosscoder.analysis.table import LatentTable
from crosscoder.errors import NotApplicable
from crosscoder.evals.explain import ExplainEval, choose_latents
from crosscoder.evals.support.measured import TABLE, make_measured_columns
from tests.unit.evals.behaviours import as_json
from tests.unit.evals.explanations.language_model import serve

FEW = {"n_latents": 4, "n_tokens": 512, "window": 5, "n_shown": 8, "n_scored": 8}
META = {"contrast": ["chat", "base"]}


def test_without_an_endpoint_labels_are_words_and_become_columns(context):
    result = ExplainEval(**FEW)(context)
    rows = result.tables["labels"]
    assert result.scalars["n_labels"] == sum(bool(row["label"]) for row in rows)
    assert result.scalars["n_labels"] + result.scalars["n_rare"] <= 4
    assert result.scalars["requests"] == 0
    assert all(0 <= row["detection"] <= 1 for row in rows)
    assert "fuzzing" not in result.scalars
    table = context.latent_table
    table = table.with_columns(make_measured_columns(table, result.tables[TABLE]))
    labelled = {row["latent"]: row["label"] for row in rows}
    for latent, label in zip(table["latent"], table["label"], strict=True):
        assert label == labelled.get(latent, "")
    assert np.isfinite(table["label_score/detection"]).sum() == len(rows)
    assert as_json(result)


def test_a_used_up_budget_is_said_and_the_next_evaluation_goes_on(context):
    def reply(text: str) -> str:
        return "numbers" if "have in common? Reply" in text else "2"

    with serve(reply) as (endpoint, asked):
        few = ExplainEval(**FEW, endpoint=endpoint, budget=4)(context)
        assert len(asked) == 4
        assert "the budget of 4 requests is used up" in few.meta["left_out"]["latents"]
        results = ExplainEval(**FEW, endpoint=endpoint)(context)
        n_sent = len(asked)
        again = ExplainEval(**FEW, endpoint=endpoint, budget=0)(context)
        assert len(asked) == n_sent
    assert "left_out" not in results.meta
    assert as_json(again)["tables"] == as_json(results)["tables"]
    assert results.meta["by"] == "parrot"
    assert {row["label"] for row in results.tables["labels"]} == {"numbers"}
    files = sorted((context.folder / "explanations").iterdir())
    assert [int(path.stem) for path in files] == sorted(
        row["latent"] for row in results.tables["labels"]
    )


def test_specific_latents_are_labelled_first():
    columns = {
        "dead": [False, False, True, False],
        "difference_energy": [3.0, 2.0, 9.0, 1.0],
        "verdict": ["shared", "rewritten", "dead", "chat-specific"],
    }
    table = LatentTable.from_columns(columns, META)
    assert choose_latents(table, 2) == [3, 0]
    dead = table.with_columns({"dead": [True] * 4})
    with pytest.raises(NotApplicable, match="no latent is active"):
        choose_latents(dead, 2)
