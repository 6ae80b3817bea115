"""Sampling against the softmax it draws from, and against greedy decoding of transformers."""

import pytest
import torch

from crosscoder.errors import UserError
from crosscoder.lm import make_chat
from crosscoder.lm.answering import generate_answers
from crosscoder.lm.sampling import (
    Noise,
    Sampling,
    choose_tokens,
    list_stop_ids,
    restrict,
    sample_answer,
    stream_tokens,
)

QUESTION = make_chat("Is this right?")


@pytest.mark.parametrize("name", ["base", "chat"])
def test_greedy_answers_are_those_of_generate(tiny_pair, name):
    model = tiny_pair[name]
    (expected,) = generate_answers(model, tiny_pair.tokenizer, [QUESTION], max_new_tokens=20)
    found = sample_answer(model, tiny_pair.tokenizer, QUESTION, Sampling(max_new_tokens=20))
    assert found == expected


def test_draws_follow_the_softmax():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    noise = Noise(Sampling(seed=1))
    sampling = Sampling(temperature=0.7)
    n = 4000
    counts = torch.zeros(4)
    for _ in range(n):
        counts[choose_tokens(logits, sampling, noise)] += 1
    expected = (logits[0] / 0.7).softmax(-1)
    assert (counts / n - expected).abs().max() < 0.03


def test_rows_of_one_batch_share_their_noise():
    logits = torch.randn(1, 50).repeat(3, 1)
    chosen = choose_tokens(logits, Sampling(temperature=1.0), Noise(Sampling()))
    assert len(chosen.unique()) == 1


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.6), (3, 1.0), (3, 0.6), (0, 1.0), (2, 0.01)])
def test_only_the_tokens_of_top_k_and_top_p_remain(top_k, top_p):
    scores = torch.log(torch.tensor([[0.1, 0.4, 0.05, 0.3, 0.15], [0.6, 0.1, 0.1, 0.1, 0.1]]))
    kept = restrict(scores, Sampling(temperature=1.0, top_k=top_k, top_p=top_p)).isfinite()
    for row, is_kept in zip(scores, kept, strict=True):
        order = row.argsort(descending=True, stable=True)[: top_k or None].tolist()
        p = row[order].softmax(-1).tolist()
        expected, total = [], 0.0
        for token, probability in zip(order, p, strict=True):
            if total >= top_p:
                break
            expected.append(token)
            total += probability
        assert int(is_kept.sum()) == len(expected)
        assert bool(is_kept[order[0]])


def test_a_row_ends_at_its_stop_token_and_the_other_goes_on(tiny_pair):
    model = tiny_pair["chat"]
    ids = torch.tensor([[2, 70, 71, 72], [2, 90, 91, 92]])
    free = list(stream_tokens(model, ids, Sampling(max_new_tokens=6), frozenset()))
    stop = free[1][0]
    assert stop not in (free[0][1], free[1][1])
    steps = list(stream_tokens(model, ids, Sampling(max_new_tokens=6), frozenset({stop})))
    first = [step[0] for step in steps if step[0] is not None]
    assert first[-1] == stop
    assert first.count(stop) == 1
    expected = [step[1] for step in free]
    assert [step[1] for step in steps] == expected[: len(steps)]


def test_the_tokens_that_end_an_answer(tiny_pair):
    tokenizer = tiny_pair.tokenizer
    expected = {tokenizer.convert_tokens_to_ids(name) for name in ("<eos>", "<end_of_turn>")}
    assert list_stop_ids(tokenizer) == expected


@pytest.mark.parametrize(
    "setting",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_wrong_settings_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        Sampling(**setting)
