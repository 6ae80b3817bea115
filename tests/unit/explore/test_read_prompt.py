"""Figures of a prompt against hooks, formulas in float64 and whole models."""

import math

import pytest
import torch

from crosscoder.errors import UserError
from crosscoder.explore.compare import compare_readings
from crosscoder.explore.prompts import MAX_TOKENS, Prompt
from crosscoder.explore.read_prompt import describe_reading, read_prompt
from crosscoder.explore.session import Session
from crosscoder.lm import make_chat
from crosscoder.lm.text import tokenize

CHAT = Prompt("chat", ["Is this right?", "No.", "Why?"], "Be brief")
PROMPTS = [CHAT, Prompt("chat", ["Hello"]), Prompt("text", ["def f(x):\n  return"])]


@pytest.fixture(scope="module", params=PROMPTS, ids=["turns", "chat", "text"])
def reading(request, session: Session):
    return read_prompt(session, request.param)


def test_a_chat_is_rendered_by_the_projects_own_functions(session):
    chat = make_chat("Is this right?", "No.", "Why?", system="Be brief")
    expected, kinds = tokenize(session.pair.tokenizer, chat, opening=True)
    reading = read_prompt(session, CHAT)
    assert reading.ids == expected
    assert reading.kinds == kinds


def test_a_chat_that_ends_with_the_assistant_has_no_opening(session):
    prompt = Prompt("chat", ["Is this right?", "No."])
    expected, _ = tokenize(session.pair.tokenizer, make_chat(*prompt.turns))
    assert prompt.tokenize(session.pair)[0] == expected
    with pytest.raises(UserError, match="the last turn is the assistant's"):
        prompt.require_open()


def test_acts_are_those_of_the_layers(session, reading):
    ids = torch.tensor([reading.ids])
    for source in session.crosscoder.sources:
        seen = []
        layer = int(source.hookpoint.rpartition(".")[2])
        module = session.pair[source.lm].model.layers[layer]
        handle = module.register_forward_hook(
            lambda _, args, output, seen=seen: seen.append(output)
        )
        session.pair[source.lm](input_ids=ids)
        handle.remove()
        output = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
        expected = output.reshape(len(reading.ids), -1)
        columns = session.crosscoder.sources.slice(source.name)
        torch.testing.assert_close(reading.acts[:, columns], expected)


def test_figures_follow_their_formulas(session, reading):
    shown = describe_reading(session, reading)
    ids = torch.tensor([reading.ids])
    logits = {name: session.pair[name](input_ids=ids).logits[0].double() for name in session.models}
    p = logits["chat"].softmax(-1)
    kl = (p * (logits["chat"].log_softmax(-1) - logits["base"].log_softmax(-1))).sum(-1)
    torch.testing.assert_close(
        torch.tensor(shown["values"]["kl"]).double(), kl, atol=1e-5, rtol=1e-4
    )
    sources = session.crosscoder.sources
    decoded = session.crosscoder.decode(session.crosscoder.encode(reading.acts)).detach()
    for row, (norm, explained) in enumerate(
        zip(shown["values"]["difference"], shown["values"]["explained"], strict=True)
    ):
        chat, base = sources.slice("chat"), sources.slice("base")
        delta = (reading.acts[row, chat] - reading.acts[row, base]).double()
        fitted = (decoded[row, chat] - decoded[row, base]).double()
        assert norm == pytest.approx(math.sqrt(float(delta @ delta)), rel=1e-4)
        error = float((delta - fitted) @ (delta - fitted))
        assert explained == pytest.approx(1 - error / float(delta @ delta), rel=1e-3, abs=1e-3)


def test_the_latents_of_a_token_are_its_code_in_the_order_of_what_they_write(session, reading):
    shown = describe_reading(session, reading)["latents"]
    decoders = [session.crosscoder.decoder(name).detach() for name in ("base", "chat")]
    f = session.crosscoder.encode(reading.acts).to_dense()
    for row, active in enumerate(shown):
        assert dict(active) == pytest.approx(
            {j: float(f[row, j]) for j in f[row].nonzero()[:, 0].tolist()}
        )
        written = []
        for latent, value in active:
            norms = [decoder[latent].norm() for decoder in decoders]
            written.append(value * float(max(norms)))
        assert written == sorted(written, reverse=True)


def test_the_summary_is_a_mean_over_the_users_text(session):
    reading = read_prompt(session, CHAT)
    rows = describe_reading(session, reading)["summary"]
    text = [row for row, kind in enumerate(reading.kinds) if kind in (0, 1)]
    assert 0 < len(text) < len(reading.ids)
    f = session.crosscoder.encode(reading.acts).to_dense()[text].double().mean(0)
    apart = (session.crosscoder.decoder("chat") - session.crosscoder.decoder("base")).detach()
    for row in rows:
        assert row["mean"] == pytest.approx(float(f[row["latent"]]), rel=1e-4)
        expected = float(f[row["latent"]]) * float(apart[row["latent"]].norm())
        assert row["writes"] == pytest.approx(expected, rel=1e-4)
    assert len(rows) == int((f > 0).sum())


def test_a_comparison_is_activity_times_what_is_written(session):
    readings = [read_prompt(session, prompt) for prompt in PROMPTS[1:]]
    rows = compare_readings(session.crosscoder, *readings)
    means = []
    for reading in readings:
        f = session.crosscoder.encode(reading.acts).to_dense()
        means.append(f[reading.is_text].mean(0))
    apart = session.crosscoder.decoder("chat") - session.crosscoder.decoder("base")
    expected = (means[0] - means[1]).abs() * apart.detach().norm(dim=-1)
    assert [row["latent"] for row in rows] == expected.argsort(descending=True)[
        : len(rows)
    ].tolist()
    assert rows[0]["score"] == pytest.approx(float(expected.max()), rel=1e-4)
    assert rows[0]["first"] == pytest.approx(float(means[0][rows[0]["latent"]]), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "prompt", [Prompt("chat", []), Prompt("chat", [" "]), Prompt("text", [""])]
)
def test_an_empty_prompt_is_refused(session, prompt):
    with pytest.raises(UserError, match="the prompt is empty"):
        read_prompt(session, prompt)


def test_a_long_prompt_is_refused(session):
    with pytest.raises(UserError, match="at most"):
        read_prompt(session, Prompt("text", ["a" * (MAX_TOKENS + 1)]))
