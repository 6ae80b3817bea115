import dataclasses

import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.errors import NotApplicable
from crosscoder.evals.patching import PatchingEval
from crosscoder.evals.support.own_answers import OwnAnswers, Patch
from crosscoder.interventions.patch import patch, patch_base
from crosscoder.lm import Pair
from crosscoder.lm.editing.positions import TokenHistory
from crosscoder.lm.scoring import tokenize_answer
from crosscoder.lm.text import tokenize
from tests.unit.evals.behaviours import SPEC, as_json

CHAT_SCALARS = {
    "kl/none",
    "kl/all",
    "kl/error",
    "kl/template",
    "kl_first9/none",
    "kl_first9/all",
    "kl_first9/error",
    "kl_first9/template",
}


@pytest.fixture
def given_answers(monkeypatch):
    """Let the chat model answer every question alike."""

    def answer(model, tokenizer, prompts, *_):
        return ["No, it is not."] * len(prompts)

    monkeypatch.setattr("crosscoder.evals.support.own_answers.generate_answers", answer)


@pytest.mark.usefixtures("given_answers")
def test_both_models_are_patched_by_every_set_of_latents(context):
    result = PatchingEval(n_questions=2, n_random=2, max_new_tokens=12)(context)
    rows = {row["patch"]: row for row in result.tables["patches"]}
    assert rows["none"]["KL cut"] == pytest.approx(0)
    assert 0 < rows["template"]["KL"] < rows["none"]["KL"]
    assert {"top half by Δ", "bottom half by Δ", "random half 1", "random half 2"} < set(rows)
    for row in rows.values():
        assert row["KL low"] <= row["KL"] <= row["KL high"]
    based = {row["patch"]: row for row in result.tables["into base"]}
    verdicts = set(context.latent_table.query("not dead")["verdict"])
    assert set(based) == {"none", "true", "all", "error", "top 20"} | verdicts
    assert based["none"]["closed"] == pytest.approx(0)
    assert based["none"]["KL"] == result.scalars["kl_base"] > 0
    for name, row in based.items():
        assert row["closed low"] <= row["closed"] <= row["closed high"]
        assert (row["random"] is None) == (name in ("none", "true", "all", "error"))
    assert set(result.scalars) > CHAT_SCALARS
    assert result.scalars["closed/top20"] == based["top 20"]["closed"]
    assert result.scalars["closed_random/top20"] == based["top 20"]["random"]
    assert result.meta["n_answers"] == 6
    as_json(result)


@pytest.mark.usefixtures("given_answers")
@pytest.mark.parametrize("lm", ["chat", "base"])
def test_kl_is_that_of_both_models_logits_one_answer_at_a_time(context, lm):
    pair = context.pair
    questions = SPEC.load("heldout", 2)
    make = {"chat": patch, "base": patch_base}[lm]
    change = make(context.crosscoder, [1, 4, 9])
    others = make(context.crosscoder, "true")
    answers = OwnAnswers(pair, "chat", questions, 12)
    found = answers.measure_kls(lm, [Patch("true", others), Patch("some", change)])
    for question, kl in zip(questions, found["some"], strict=True):
        prompt, _ = tokenize(pair.tokenizer, question.prompt, opening=True)
        answer = tokenize_answer(pair.tokenizer, question.prompt, "No, it is not.")
        ids = torch.tensor([prompt + answer])
        scored = slice(len(prompt) - 1, len(prompt) + len(answer) - 1)
        clean = pair["chat"](ids).logits[0, scored].double().log_softmax(-1)
        with pair.edit(lm, change) as model:
            patched = model(ids).logits[0, scored].double().log_softmax(-1)
        expected = torch.nn.functional.kl_div(patched, clean, log_target=True, reduction="none")
        torch.testing.assert_close(kl, expected.sum(-1), atol=1e-5, rtol=1e-3)


def select_all(history: TokenHistory) -> torch.Tensor:
    """Select every token, special ones too."""
    return torch.ones_like(history.ids, dtype=torch.bool)


@torch.no_grad()
def test_the_true_difference_makes_the_base_model_chat_if_only_earlier_layers_differ():
    lms = {"base": {"seed": 0, "n_layers": 4}, "chat": {"seed": 0, "drift": 0.3, "n_layers": 4}}
    pair = Pair(lms, layer=1, dtype="float32", residency="together", device="cpu")
    base = pair["base"]
    chat = pair["chat"]
    mixed = base.state_dict()
    for key, value in chat.state_dict().items():
        if ".layers.0." in key or ".layers.1." in key:
            mixed[key] = value
    chat.load_state_dict(mixed)
    crosscoder = Crosscoder(pair.sources(), 32, TopK(4)).fold()
    ids = torch.tensor([[2, *range(40, 60)]])
    expected = chat(ids).logits
    assert (base(ids).logits - expected).abs().max() > 0.01
    for name, change in (
        ("base", patch_base(crosscoder, "true")),
        ("chat", patch(crosscoder, "true")),
    ):
        with pair.edit(name, change, positions=select_all) as model:
            torch.testing.assert_close(model(ids).logits, expected, atol=1e-4, rtol=0)


def test_it_is_not_applicable_without_language_models(context):
    with pytest.raises(NotApplicable, match="language models"):
        PatchingEval()(dataclasses.replace(context, pair=None))
