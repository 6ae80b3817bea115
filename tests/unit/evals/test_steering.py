import dataclasses

import numpy as np
import pytest

from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals import EvalContext
from crosscoder.evals.steering import SteeringEval
from crosscoder.evals.support.measured import TABLE
from crosscoder.organisms.expertise import Asked
from tests.unit.evals.behaviours import CANDIDATES, FEW, SPEC, as_json

STRENGTHS = (0.2, 5.0)
DOSES = [-5.0, -0.2, 0.2, 5.0]
RANDOM = ("random latents", "random vectors")


@pytest.fixture
def chosen(monkeypatch):
    """Let the candidates come first."""
    monkeypatch.setattr(
        "crosscoder.evals.steering.rank_candidates", lambda *_: np.array(CANDIDATES)
    )


def steer(context: EvalContext, **settings):
    settings = {"n_latents": 3, "strengths": STRENGTHS, "n_random": 2} | settings
    return SteeringEval(**FEW | settings)(context)


@pytest.mark.long
def test_both_models_are_steered_with_both_signs(context, chosen):
    result = steer(context)
    rows = result.tables["dose"]
    for model in ("chat", "base"):
        own = [row for row in rows if row["model"] == model]
        ours = [row["strength"] for row in own if row["direction"] == "latents"]
        assert ours == sorted([0.0, *DOSES])
        for direction in ("mean difference", *RANDOM):
            found = [row["strength"] for row in own if row["direction"] == direction]
            assert found == DOSES
    doses = [f"{dose:g}" for dose in (0, *DOSES)]
    columns = {f"{model}, latents × {dose}" for model in ("chat", "base") for dose in doses}
    assert set(result.tables["answers"][0]) == {"question"} | columns
    as_json(result)


@pytest.mark.long
def test_arms_have_the_dose_of_the_largest_effect_and_random_directions(context, chosen):
    result = steer(context)
    rows = result.tables["dose"]
    arms = [row for row in result.tables["arms"] if row["measure"] == "contrast"]
    assert [(row["model"], row["direction"]) for row in arms] == [
        (model, direction)
        for model in ("chat", "base")
        for direction in ("latents", "mean difference")
    ]
    for arm in arms:
        own = [row for row in rows if row["model"] == arm["model"]]
        [unsteered] = [row["contrast"] for row in own if not row["strength"]]
        changes = {}
        for row in own:
            if row["direction"] == arm["direction"] and row["strength"]:
                changes[row["strength"]] = row["contrast"] - unsteered
        assert abs(arm["effect"]) == max(abs(change) for change in changes.values())
        assert changes[arm["strength"]] == arm["effect"]
        drawn = [row for row in result.tables["random"] if row["model"] == arm["model"]]
        assert [(row["direction"], row["draw"]) for row in drawn] == [
            (kind, draw) for kind in RANDOM for draw in range(2)
        ]
        largest = [abs(row["effect"]) for row in drawn]
        assert arm["margin"] == pytest.approx(abs(arm["effect"]) - np.mean(largest))
        assert arm["p"] == (1 + sum(x >= abs(arm["effect"]) for x in largest)) / 5
    assert result.scalars["contrast_p/chat"] == arms[0]["p"]


@pytest.mark.long
def test_the_latents_are_tested_by_their_own_tokens(context, chosen):
    result = steer(context)
    latents = result.tables["latents"]
    assert [row["latent"] for row in latents] == CANDIDATES[:3]
    assert {"token_effect", "token_triggered", "top tokens"} < set(latents[0])
    measured = result.tables[TABLE]
    assert [row["token_effect"] for row in measured] == [row["token_effect"] for row in latents]
    spans = result.tables["prompt spans"]
    assert [row["prompts"] for row in spans] == ["novice", "expert"]
    assert spans[0]["tokens read"] == spans[1]["tokens read"]


@pytest.mark.long
def test_without_answers_few_random_directions_generate_at_the_middle_strength(context, chosen):
    rows = {split: [] for split in ("train", "heldout")}
    for split in rows:
        for row in Asked(split):
            rows[split].append({key: row[key] for key in ("id", "group", "prompt")})
    behaviour = dataclasses.replace(SPEC, train=rows["train"], heldout=rows["heldout"])
    context = dataclasses.replace(context, behaviour=behaviour)
    result = steer(context, n_random_answering=1, n_pairs=2)
    drawn = result.tables["random"]
    assert {(row["direction"], row["draw"]) for row in drawn} == {(kind, 0) for kind in RANDOM}
    assert {row["measure"] for row in drawn} == {"rate"}
    doses = [row for row in result.tables["dose"] if row["direction"] in RANDOM]
    assert {row["strength"] for row in doses} == {-5.0, 5.0}
    assert all("rate" in row and "contrast" not in row for row in doses)
    assert {row["measure"] for row in result.tables["arms"]} == {"rate"}
    assert "rate_p/chat" in result.scalars


@pytest.mark.parametrize("strengths", [(), [0.1, -0.1], [0.0]])
def test_strengths_are_numbers_above_0_since_both_signs_are_run(strengths):
    with pytest.raises(UserError, match="strength"):
        SteeringEval(strengths=strengths)


def test_it_is_not_applicable_without_language_models(context):
    with pytest.raises(NotApplicable, match="language models"):
        SteeringEval(**FEW)(dataclasses.replace(context, pair=None))
