import dataclasses

import numpy as np
import pytest

from crosscoder.behaviours.auroc import compute_auroc
from crosscoder.behaviours.logprob_diff import compute_logprob_diffs
from crosscoder.behaviours.questions import load_questions
from crosscoder.errors import NotApplicable
from crosscoder.evals.behaviour import BehaviourEval, split_like
from crosscoder.organisms.expertise import Asked, Factors, names_asked_error
from tests.unit.evals.behaviours import SPEC, as_json, is_odd


@pytest.mark.long
def test_rates_count_the_answers_that_the_marker_marks(context):
    behaviour = dataclasses.replace(
        SPEC,
        correct=names_asked_error,
        factors=Factors("heldout"),
        judge=lambda prompts, texts: [0.25] * len(texts),
    )
    evaluate = BehaviourEval(n_questions=4, n_factors=3, max_new_tokens=4)
    result = evaluate(dataclasses.replace(context, behaviour=behaviour))
    answers = result.tables["answers"]
    assert len(answers) == 12
    for model in ("base", "chat"):
        for group in ("novice", "expert", "none"):
            texts = [row[model] for row in answers if row["asked as"] == group]
            rate = np.mean([is_odd(text) for text in texts])
            assert result.scalars[f"gentle_rate/{model}/{group}"] == rate
            assert f"contrast/{model}/{group}" in result.scalars
    assert {row["judged"] for row in result.tables["rates"]} == {0.25}
    assert {row["level"] for row in result.tables["factors"]} >= {"competence/low", "wording/high"}
    words = {row["told apart"]: row for row in result.tables["words"]}
    assert words["novice from expert"]["TF-IDF"] > 0.8
    assert {"competence/low from competence/high", "wording/low from wording/high"} < set(words)
    as_json(result)


def test_a_list_is_split_into_groups_of_the_same_sizes():
    groups = {"a": [1, 2], "b": [], "c": [3]}
    assert split_like(["x", "y", "z"], groups) == {"a": ["x", "y"], "b": [], "c": ["z"]}


def test_auroc_is_the_fraction_of_pairs_in_order():
    assert compute_auroc(np.array([1.0, 2, 3]), np.array([0.0, 2])) == pytest.approx(
        (1 + 1.5 + 2) / 6
    )


def test_it_is_not_applicable_without_language_models(context):
    with pytest.raises(NotApplicable, match="language models"):
        BehaviourEval()(dataclasses.replace(context, pair=None))


def test_it_is_not_applicable_without_a_behaviour(context):
    with pytest.raises(NotApplicable, match="behaviour=NAME"):
        BehaviourEval()(dataclasses.replace(context, behaviour=None))


def without_answers(split: str) -> list[dict]:
    """Return questions that say nothing about how an answer shows the behaviour."""
    rows = []
    for row in Asked(split):
        rows.append({key: row[key] for key in ("id", "group", "prompt")})
    return rows


def test_questions_without_answers_have_rates_and_no_contrast(context):
    behaviour = dataclasses.replace(
        SPEC, train=without_answers("train"), heldout=without_answers("heldout")
    )
    result = BehaviourEval(n_questions=3, max_new_tokens=4)(
        dataclasses.replace(context, behaviour=behaviour)
    )
    assert {key.partition("/")[0] for key in result.scalars} == {"gentle_rate"}
    assert "contrast" not in result.tables["rates"][0]
    as_json(result)


def test_without_marker_and_judge_the_likelier_answer_counts(context):
    behaviour = dataclasses.replace(SPEC, marker=None, marker_name=None)
    result = BehaviourEval(n_questions=6, max_new_tokens=4)(
        dataclasses.replace(context, behaviour=behaviour)
    )
    questions = [one for one in load_questions(Asked("heldout"), 6) if one.group == "novice"]
    pair = context.pair
    differences = compute_logprob_diffs(pair["chat"], pair.tokenizer, questions)
    assert result.scalars["expertise_rate/chat/novice"] == (differences > 0).mean()


def test_a_judge_decides_where_there_is_no_marker(context):
    behaviour = dataclasses.replace(
        SPEC, marker=None, judge=lambda prompts, texts: [0.6] + [0.4] * (len(texts) - 1)
    )
    result = BehaviourEval(n_questions=4, max_new_tokens=4)(
        dataclasses.replace(context, behaviour=behaviour)
    )
    assert result.scalars["gentle_rate/chat/novice"] == 0.25
