import dataclasses

import numpy as np
import pytest

from crosscoder.behaviours.logprob_diff import compute_logprob_diffs
from crosscoder.behaviours.questions import load_questions
from crosscoder.errors import NotApplicable
from crosscoder.evals.ablation import AblationEval
from crosscoder.evals.support.measured import TABLE
from crosscoder.evals.support.rankings import RANKINGS
from crosscoder.interventions.ablate import ablate
from crosscoder.organisms.expertise import Asked
from tests.unit.evals.behaviours import CANDIDATES, FEW, SPEC, as_json

SETTINGS = FEW | {"n_plain": 64}


@pytest.fixture
def chosen(monkeypatch):
    """Let the candidates come first."""
    rankings = RANKINGS | {"candidates": lambda *_: np.array(CANDIDATES)}
    monkeypatch.setattr("crosscoder.evals.ablation.RANKINGS", rankings)


@pytest.mark.long
def test_it_has_every_scalar_and_baseline(context, chosen):
    result = AblationEval(**SETTINGS, sizes=(1, 2, 4), headline=(2, 4))(context)
    for n in (2, 4):
        keys = ("kl_plain", "expert_nll_rise", "coherence_nll_rise")
        assert {f"{key}@{n}" for key in keys} <= set(result.scalars)
    names = [row["intervention"] for row in result.tables["interventions"]]
    assert names[:4] == ["ours@2", "ours@4", "random@2", "random@4"]
    assert {"decoder norm@4", "mean difference", "probe", "base activations"} < set(names)
    latents = result.tables["latents"]
    assert [row["latent"] for row in latents] == CANDIDATES
    triggered = [row["token_triggered"] for row in latents]
    assert [row["token_triggered"] for row in result.tables[TABLE]] == triggered
    assert result.scalars["token_triggered"] == triggered.count(1)
    assert [row["prompts"] for row in result.tables["prompt spans"]] == ["novice", "expert"]
    assert len(result.tables["answers"]) == 4
    assert as_json(result)["scalars"].keys() == result.scalars.keys()


@pytest.mark.long
def test_the_sweep_has_the_logprob_difference_under_each_ablation(context, chosen, tiny_pair):
    rows = AblationEval(**SETTINGS, sizes=(2,), headline=(2,))(context).tables["sweep"]
    [row] = [row for row in rows if row["ranking"] == "candidates" and row["latents"] == 2]
    novices = [one for one in load_questions(Asked("heldout"), 4) if one.group == "novice"]
    with tiny_pair.edit("chat", ablate(context.crosscoder, CANDIDATES[:2])) as model:
        expected = compute_logprob_diffs(model, tiny_pair.tokenizer, novices).mean()
    assert row["contrast"] == pytest.approx(expected, abs=1e-6)
    assert row["low"] <= row["contrast"] <= row["high"]


@pytest.mark.long
def test_nothing_is_removed_where_the_models_do_not_differ(context):
    never = dataclasses.replace(SPEC, marker=lambda text, question: False)
    context = dataclasses.replace(context, behaviour=never)
    result = AblationEval(**SETTINGS | {"n_pairs": 2}, sizes=(1,), headline=(1,))(context)
    assert not any(key.startswith("removed") for key in result.scalars)
    assert "kl_plain@1" in result.scalars
    assert np.isfinite(list(result.scalars.values())).all()
    assert result.scalars["qualified"] == 0


def test_it_is_not_applicable_without_language_models(context):
    with pytest.raises(NotApplicable, match="language models"):
        AblationEval(**SETTINGS)(dataclasses.replace(context, pair=None))


@pytest.mark.long
def test_questions_without_answers_have_no_sweep_and_no_contrast(context):
    rows = {split: [] for split in ("train", "heldout")}
    for split in rows:
        for row in Asked(split):
            rows[split].append({key: row[key] for key in ("id", "group", "prompt")})
    behaviour = dataclasses.replace(SPEC, train=rows["train"], heldout=rows["heldout"])
    context = dataclasses.replace(context, behaviour=behaviour)
    result = AblationEval(**SETTINGS | {"n_pairs": 2}, sizes=(1,), headline=(1,))(context)
    assert "sweep" not in result.tables
    assert "contrast" not in result.tables["interventions"][0]
    assert "kl_plain@1" in result.scalars
