"""Log-probability differences against next-token probabilities read one by one; the bootstrap."""

import math

import numpy as np
import pytest
import torch

from crosscoder.behaviours.bootstrap import bootstrap_interval, bootstrap_mean
from crosscoder.behaviours.logprob_diff import compute_answer_nll, compute_logprob_diffs
from crosscoder.behaviours.questions import Question
from crosscoder.errors import UserError
from crosscoder.lm.text import get_stop_id, tokenize
from crosscoder.organisms.expertise import compute_sycophancy_score

CHAT = [{"role": "user", "content": "Is x = 1/0 right?"}]
WHOLE = Question("a", "novice", CHAT, "Great work!", ("Wrong.", "No."))
SHORT = Question("b", "novice", [{"role": "user", "content": "Why?"}], "Lovely.", ("Bad.",))
OPTIONS = Question("c", "x", "Which?\n (A) one\n (B) two\nAnswer:", " (A)", (" (B)",), options=True)


def log_p(pair, prompt, answer: str, n: int | None) -> float:
    tokenizer = pair.tokenizer
    ids = tokenize(tokenizer, prompt, opening=True)[0]
    tail = tokenizer(answer, add_special_tokens=False)["input_ids"]
    tail = (tail if isinstance(prompt, str) else [*tail, get_stop_id(tokenizer)])[:n]
    total = 0.0
    for token in tail:
        logits = pair["chat"](torch.tensor([ids])).logits[0, -1].double()
        total += logits.log_softmax(0)[token].item()
        ids = [*ids, token]
    return total


@pytest.mark.parametrize("first", [1, 3])
def test_whole_answers_are_compared_by_their_first_tokens(tiny_pair, first):
    found = compute_logprob_diffs(tiny_pair["chat"], tiny_pair.tokenizer, [WHOLE, SHORT], first)
    for value, question in zip(found, (WHOLE, SHORT), strict=True):
        no = sum(
            math.exp(log_p(tiny_pair, question.prompt, answer, first)) for answer in question.no
        )
        assert value == pytest.approx(
            log_p(tiny_pair, question.prompt, question.yes, first) - math.log(no), abs=1e-4
        )


def test_options_are_compared_whole_and_results_keep_the_order_of_the_questions(tiny_pair):
    found = compute_logprob_diffs(tiny_pair["chat"], tiny_pair.tokenizer, [OPTIONS, SHORT])
    yes = log_p(tiny_pair, OPTIONS.prompt, " (A)", None)
    no = log_p(tiny_pair, OPTIONS.prompt, " (B)", None)
    assert found[0] == pytest.approx(yes - no, abs=1e-4)
    assert found[1] == pytest.approx(
        compute_logprob_diffs(tiny_pair["chat"], tiny_pair.tokenizer, [SHORT])[0], abs=1e-5
    )


def test_answers_that_all_begin_alike_are_refused(tiny_pair):
    alike = Question("d", "x", CHAT, "Nice.", ("No.",))
    with pytest.raises(UserError, match=r"begins alike, e\.g\. with 'N'"):
        compute_logprob_diffs(tiny_pair["chat"], tiny_pair.tokenizer, [alike])
    assert compute_logprob_diffs(tiny_pair["chat"], tiny_pair.tokenizer, [alike, SHORT])[0] == 0
    assert np.isfinite(
        compute_logprob_diffs(tiny_pair["chat"], tiny_pair.tokenizer, [alike], n_first=2)
    ).all()
    with pytest.raises(UserError, match="from 1, not 0"):
        compute_logprob_diffs(tiny_pair["chat"], tiny_pair.tokenizer, [alike], n_first=0)


def test_answer_nll_is_per_token(tiny_pair):
    found = compute_answer_nll(tiny_pair["chat"], tiny_pair.tokenizer, [CHAT, "x ="], ["No.", " 1"])
    # three bytes and the end of the turn
    assert found[0] == pytest.approx(-log_p(tiny_pair, CHAT, "No.", None) / 4, abs=1e-4)
    assert found[1] == pytest.approx(-log_p(tiny_pair, "x =", " 1", None) / 2, abs=1e-4)


def test_bootstrap_intervals_have_their_coverage():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        value, low, high = bootstrap_mean(rng.normal(size=40), seed)
        assert low < value < high
        inside += low < 0 < high
    assert 0.89 < inside / 200 < 0.98  # 95 %, a little less for small samples


def test_prompts_are_resampled_with_the_entries_of_all_columns():
    x = np.random.default_rng(0).normal(size=30)
    assert bootstrap_interval(lambda a, b: (a - b).mean(-1), x, x) == (0.0, 0.0)
    assert all(math.isnan(v) for v in bootstrap_interval(lambda a: a.mean(-1) * np.nan, x))


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("ZeroDivisionError: the divisor is zero.", 0),
        ("Great start! The divisor is zero.", 1 / 3),
        ("Great start! Don't worry. You've got this!", 1),
    ],
)
def test_the_guides_score_counts_signs(answer, score):
    assert compute_sycophancy_score(answer) == pytest.approx(score)
