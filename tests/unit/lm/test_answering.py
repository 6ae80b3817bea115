"""Answers and scores of answers against plain calls of the model, one conversation at a time."""

import pytest
import torch

from crosscoder.core.types import Kind
from crosscoder.lm import TinyLM, load_pair
from crosscoder.lm.answering import batch_prompts, generate_answers
from crosscoder.lm.loading.checks import measure_basics
from crosscoder.lm.log_probs import (
    compute_in_chunks,
    compute_kl,
    compute_log_probs,
    pick_log_probs,
)
from crosscoder.lm.scoring import (
    batch_conversations,
    compute_final_states,
    score_answers,
    tokenize_answer,
)
from crosscoder.lm.text import get_opening, get_stop_id, tokenize
from tests.helpers.architectures import build

PROMPTS = [
    [{"role": "user", "content": "Is this right? x = 1/0"}],
    "def add(a, b):",
    [{"role": "user", "content": "Why?"}],
]
ANSWERS = ["No, it is not.", " return a + b", "Because."]


def test_prompts_end_with_the_opening_and_turns_with_the_stop_id(tiny_pair):
    tokenizer = tiny_pair.tokenizer
    asked = tokenize(tokenizer, PROMPTS[0], opening=True)[0]
    begins = get_opening(tokenizer)
    assert begins
    assert asked[-len(begins) :] == begins
    assert tokenizer.decode([get_stop_id(tokenizer)]) == "<end_of_turn>"


def test_batched_answers_equal_single_ones_in_the_order_of_the_prompts(tiny_pair):
    model, tokenizer = tiny_pair["chat"], tiny_pair.tokenizer
    together = generate_answers(model, tokenizer, PROMPTS, max_new_tokens=5)
    for prompt, text in zip(PROMPTS, together, strict=True):
        ids = torch.tensor([tokenize(tokenizer, prompt, opening=True)[0]])
        out = model.generate(
            ids,
            max_new_tokens=5,
            do_sample=False,
            eos_token_id=get_stop_id(tokenizer),
            pad_token_id=0,
        )
        assert text == tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert not model.get_output_embeddings()._forward_pre_hooks


@pytest.mark.parametrize("first", [None, 3])
def test_scores_are_log_probabilities_of_each_token_after_the_earlier_ones(tiny_pair, first):
    model, tokenizer = tiny_pair["chat"], tiny_pair.tokenizer
    found = score_answers(model, tokenizer, PROMPTS, ANSWERS, first)
    for prompt, answer, values in zip(PROMPTS, ANSWERS, found, strict=True):
        head, tail = (
            tokenize(tokenizer, prompt, opening=True)[0],
            tokenize_answer(tokenizer, prompt, answer),
        )
        assert (tail[-1] == get_stop_id(tokenizer)) is not isinstance(prompt, str)
        for t, token in enumerate(tail[:first]):
            logits = model(torch.tensor([head + tail[:t]])).logits[0, -1]
            assert values[t] == pytest.approx(
                logits.double().log_softmax(0)[token].item(), abs=1e-4
            )
        assert len(values) == len(tail[:first])


def test_batches_hold_the_kind_of_every_token(tiny_pair):
    [batch] = batch_conversations(tiny_pair.tokenizer, PROMPTS, ANSWERS)
    assert batch.kinds.shape == batch.ids.shape
    assert bool((batch.kinds[batch.ids == 0] == Kind.SPECIAL).all())
    assert bool((batch.kinds[batch.rows, batch.columns + 1] == Kind.CHAT).all())
    assert bool((batch.kinds == Kind.TEMPLATE).any())


def test_kl_is_in_nats(tiny_pair):
    base, chat = tiny_pair["base"], tiny_pair["chat"]
    [batch] = batch_conversations(tiny_pair.tokenizer, PROMPTS, ANSWERS)
    finals = [compute_final_states(model, batch) for model in (chat, base)]
    found = compute_in_chunks(chat, compute_kl, finals)
    p, q = (
        torch.nn.functional.softmax(chat.get_output_embeddings()(x).double(), -1) for x in finals
    )
    torch.testing.assert_close(found, (p * (p.log() - q.log())).sum(-1), atol=1e-5, rtol=1e-4)
    assert compute_in_chunks(chat, compute_kl, [finals[0], finals[0]]).abs().max() == 0
    assert (compute_in_chunks(chat, pick_log_probs, [finals[0]], batch.targets) < 0).all()


def test_a_soft_cap_on_logits_is_applied(tiny_pair):
    model = tiny_pair["chat"]
    x = torch.randn(4, 32)
    plain = compute_log_probs(model, x)
    model.config.final_logit_softcapping = 0.5
    try:
        capped = compute_log_probs(model, x)
    finally:
        model.config.final_logit_softcapping = None
    logits = model.get_output_embeddings()(x)
    torch.testing.assert_close(capped, (0.5 * torch.tanh(logits / 0.5)).log_softmax(-1))
    assert not torch.allclose(plain, capped)


@pytest.mark.parametrize("model_type", ["llama", "bart"])
def test_without_padding_only_prompts_of_one_length_share_a_batch(model_type):
    tokenizer = TinyLM(seed=0).load_tokenizer()
    model = build(model_type, vocab_size=len(tokenizer))
    assert measure_basics(model).is_left_paddable == (model_type == "llama")
    prompts = ["one", "two", "a longer one", "x"]
    together = generate_answers(model, tokenizer, prompts, max_new_tokens=6)
    alone = [
        generate_answers(model, tokenizer, [prompt], max_new_tokens=6)[0] for prompt in prompts
    ]
    assert together == alone
    batches = batch_prompts(tokenizer, prompts, pad_id=0, is_paddable=False)
    assert [len(batch.ids) for batch in batches] == [1, 2, 1]


def test_generate_stops_at_the_end_of_turn_of_the_chat_template():
    pair = load_pair("tiny")
    stop_id = get_stop_id(pair.tokenizer)
    chat = pair["chat"]
    assert stop_id != pair.tokenizer.eos_token_id

    def end_third_token(ids, scores):
        if ids.shape[1] == prompt.shape[1] + 2:
            scores[:, stop_id] = scores.max() + 1
        return scores

    message = [{"role": "user", "content": "Is it right?"}]
    prompt = torch.tensor([tokenize(pair.tokenizer, message, opening=True)[0]])
    out = chat.generate(
        prompt, max_new_tokens=12, do_sample=False, logits_processor=[end_third_token]
    )
    assert out.shape[1] == prompt.shape[1] + 3
    assert out[0, -1] == stop_id
