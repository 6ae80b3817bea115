"""Labels and their scores for one latent that is active on one word."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from crosscoder.errors import UserError
from crosscoder.evals.explain import explain_by_endpoint
from crosscoder.evals.explanations.examples import draw_examples
from crosscoder.evals.explanations.lexical import (
    _compute_z,
    find_distinctive_words,
    predict_by_words,
    write_lexical_label,
)
from crosscoder.evals.explanations.prompts import read_flags, read_label, read_number
from crosscoder.evals.explanations.replies import Budget, KeptReplies, OutOfBudget
from crosscoder.evals.explanations.scoring import Verdicts
from crosscoder.evals.support.windows import TextPool
from tests.unit.evals.explanations.language_model import (
    WORD,
    answer_badly,
    answer_well,
    answer_wrongly,
    serve,
)

LENGTH = 8
LATENT = 7
WORDS = ["red", "green", "house", "tree", "runs", "sings", "old", "new"]
N_SEQUENCES = 80


def make_pool() -> tuple[TextPool, list[str]]:
    """Draw sequences of two windows each; every fourth window holds the word."""
    generator = np.random.default_rng(0)
    names = generator.choice([f" {word}" for word in WORDS], (N_SEQUENCES * 2, LENGTH))
    names = names.astype(object)
    f = torch.zeros(N_SEQUENCES * 2, LENGTH)
    for window in range(0, len(names), 4):
        place = int(generator.integers(LENGTH))
        names[window, place] = f" {WORD}"
        f[window, place] = float(generator.uniform(0.1, 3))
    shape = (N_SEQUENCES, 2 * LENGTH)
    positions = torch.arange(2 * LENGTH).expand(shape)
    pool = TextPool(
        torch.zeros(shape, dtype=torch.long),
        positions,
        torch.ones(shape, dtype=torch.bool),
        [LATENT],
        f.reshape(*shape, 1),
    )
    return pool, names.flatten().tolist()


@pytest.fixture
def examples():
    return draw_examples(*make_pool(), length=LENGTH, n_shown=12, n_scored=16, seed=0)[LATENT]


def test_windows_for_the_label_and_for_the_score_are_different_ones(examples):
    _, names = make_pool()
    assert len(examples.shown) == 12
    assert len(examples.active) == len(examples.inactive) == 16
    for example in (*examples.shown, *examples.active):
        assert [example.tokens[place] for place in example.active_places] == [f" {WORD}"]
    for example in (*examples.shown_inactive, *examples.inactive):
        assert not example.active_places
    peaks = [max(example.activations) for example in examples.shown]
    assert peaks == sorted(peaks, reverse=True)
    half = len(names) // 2
    first_half = "".join(names[:half])
    second_half = "".join(names[half:])
    assert all(example.text in first_half for example in examples.shown)
    assert all(example.text in second_half for example in examples.active)


def test_windows_come_from_all_deciles_of_the_activation():
    pool, names = make_pool()
    drawn = draw_examples(pool, names, LENGTH, n_shown=10, n_scored=4, seed=0)[LATENT]
    peak = pool.f.flatten().numpy().reshape(-1, LENGTH).max(1)[:N_SEQUENCES]
    deciles = np.array_split(np.sort(peak[peak > 0]), 10)
    found = sorted(max(example.activations) for example in drawn.shown)
    for value, decile in zip(found, deciles, strict=True):
        assert decile.min() <= value <= decile.max()


def test_a_latent_that_is_hardly_ever_active_has_no_examples():
    pool, names = make_pool()
    pool.f[10:] = 0
    assert draw_examples(pool, names, LENGTH, 12, 16, seed=0) == {}


def test_the_distinctive_word_is_found_and_predicts(examples):
    words = find_distinctive_words(examples)
    assert words[0] == WORD
    assert predict_by_words([WORD], examples.active) == [True] * 16
    assert predict_by_words([WORD], examples.inactive) == [False] * 16
    assert write_lexical_label([WORD], [" sky", " ", "sky"]) == 'on "blue"; writes "sky"'


def test_z_scores_agree_with_the_formula():
    a, b, n_a, n_b = 7, 2, 10, 12
    z = _compute_z(np.array([a]), np.array([b]), n_a, n_b)[0]
    delta = math.log((a + 0.5) / (n_a - a + 0.5)) - math.log((b + 0.5) / (n_b - b + 0.5))
    variance = 1 / (a + 0.5) + 1 / (n_a - a + 0.5) + 1 / (b + 0.5) + 1 / (n_b - b + 0.5)
    assert z == pytest.approx(delta / math.sqrt(variance))


def test_the_score_is_the_balanced_accuracy():
    generator = np.random.default_rng(1)
    is_true = generator.random(60) < 0.3
    called = is_true ^ (generator.random(60) < 0.2)
    verdicts = Verdicts(is_true.tolist(), called.tolist())
    score, low, high = verdicts.score(seed=0)
    assert score == pytest.approx(balanced_accuracy_score(is_true, called))
    assert low < score < high
    assert math.isnan(Verdicts([True], [True]).score(0)[0])


@pytest.mark.parametrize(
    ("reply", "flags"),
    [
        ("[1, 0, 1]", [True, False, True]),
        ("Sure: [0,0,0].", [False] * 3),
        ("first [1,1,1], no: [1,0,0]", [True, False, False]),
        ("[1, 0]", None),
        ("1 0 1", None),
        ("[1, 0, 2]", None),
        ("[,,]", None),
    ],
)
def test_lists_in_replies(reply, flags):
    assert read_flags(reply, 3) == flags


@pytest.mark.parametrize(
    ("reply", "number"), [("3", 3), ("Number 3.", 3), ("6", None), ("3 or 4", None), ("", None)]
)
def test_numbers_in_replies(reply, number):
    assert read_number(reply, 5) == number


def test_a_label_is_the_first_line_without_quotes():
    assert read_label('\n"Words for colours"\nbecause …') == "Words for colours"
    assert read_label(" \n") == ""


def explain(endpoint, examples, path=None, budget=100):
    replies = KeptReplies(endpoint, path, Budget(budget))
    return explain_by_endpoint(replies, examples, [" sky"], seed=0)


def test_a_model_that_answers_well_has_the_best_scores(examples):
    with serve(answer_well) as (endpoint, asked):
        row = explain(endpoint, examples)
    assert row["label"] == f"the word {WORD}"
    assert row["detection"] == row["fuzzing"] == row["intruder"] == 1
    assert row["unreadable"] == 0
    assert "' sky'" in asked[0]


def test_a_model_that_answers_wrongly_has_the_worst_scores(examples):
    with serve(answer_wrongly) as (endpoint, _):
        row = explain(endpoint, examples)
    assert row["detection"] == row["fuzzing"] == row["intruder"] == 0


def test_a_model_that_answers_badly_has_no_scores(examples):
    with serve(answer_badly) as (endpoint, _):
        row = explain(endpoint, examples)
    assert math.isnan(row["detection"])
    assert math.isnan(row["fuzzing"])
    assert math.isnan(row["intruder"])
    assert row["unreadable"] == 32 + 16 + 4


def test_a_slow_model_is_a_timeout_and_what_it_said_is_kept(examples, tmp_path):
    path = tmp_path / "7.json"
    with serve(answer_well) as (endpoint, asked):
        with pytest.raises(OutOfBudget):
            explain(endpoint, examples, path, budget=3)
        assert len(asked) == 3
        url = endpoint.url
    slow_server = serve(answer_well, seconds=1, timeout=0.1, retries=0)
    with slow_server as (slow, _), pytest.raises(UserError, match="timeout, after 1 try"):
        explain(slow, examples, path)
    assert len(json.loads(path.read_text())) == 3
    assert url not in path.read_text()


def test_a_second_evaluation_sends_only_what_is_missing(examples, tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", "sk-secret-1")
    path = tmp_path / "7.json"

    def repeat_key(text: str) -> str:
        reply = answer_well(text)
        return reply if reply.startswith("[") or reply.isdigit() else f"{reply} sk-secret-1"

    with serve(repeat_key, key_env="KEY") as (endpoint, asked):
        with pytest.raises(OutOfBudget):
            explain(endpoint, examples, path, budget=5)
        first = explain(endpoint, examples, path)
        n_sent = len(asked)
        assert len(set(asked)) == n_sent
        again = explain(endpoint, examples, path, budget=0)
        assert len(asked) == n_sent
    assert first == again
    assert "sk-secret" not in path.read_text()
