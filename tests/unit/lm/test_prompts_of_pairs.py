"""Prompts and other arguments of `Pair` as people type them: a text is raw text everywhere."""

import pytest
import torch

import crosscoder
from crosscoder.core.activations.topk import TopK
from crosscoder.core.types import Kind
from crosscoder.errors import UserError
from crosscoder.interventions.ablate import ablate
from crosscoder.lm import Pair, load_pair, make_chat


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], r"not \[\]"),
        ((), r"not \(\)"),
        (3, "not 3"),
        (None, "not None"),
        (b"text", "not b'text'"),
        ({"role": "user", "content": "x"}, r"write \[message\] for a chat of one message"),
    ],
)
def test_what_is_no_prompt_is_refused_with_what_is(tiny_pair, prompts, message):
    expected = r"prompts are a text, a chat \(a list of messages\), or a list of them, "
    with pytest.raises(UserError, match=f"{expected}.*{message}"):
        tiny_pair.read(prompts)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (["a", 3], "prompt 2: expected text or a list of messages, found 3"),
        ([["a"]], "prompt 1: expected messages with 'role' and 'content'"),
        ([[{"role": "user"}]], "prompt 1: expected text in 'content' of message 1"),
        ([{"a": 1}], "expected text in 'role' of message 1"),
    ],
)
def test_a_prompt_of_a_list_that_is_none_is_named(tiny_pair, prompts, message):
    with pytest.raises(UserError, match=message):
        tiny_pair.read(prompts)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"hookpoints": "resid_post.1"},
            r"a list, e\.g\. .*, not 'resid_post\.1'",
        ),
        ({"hookpoints": []}, r"hookpoints are a list"),
        ({"hookpoints": ["resid_post.1"] * 2}, "hookpoints are different"),
        ({"hookpoints": ["resid.1"]}, "SITE one of resid_post, attn_out, mlp_out, attn_z"),
        ({"hookpoints": ["resid_post.9"]}, "the model has layers 0 to 1"),
        ({"batch_size": 0}, "batch_size is a whole number from 1, not 0"),
        ({"batch_size": "4"}, "batch_size is a whole number from 1, not '4'"),
        ({"opening": "yes"}, "opening is true or false, not 'yes'"),
    ],
)
def test_arguments_of_read_are_refused_by_name(tiny_pair, arguments, message):
    with pytest.raises(UserError, match=message):
        tiny_pair.read("text", **arguments)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lyer": 1}, "a pair has no lyer; it has lms, layer, diff_pair"),
        ({"layer": "x"}, "layer is a whole number from 0, not 'x'"),
        ({"diff_pair": "chat"}, "of base, chat, or null; not 'chat'"),
        ({"diff_pair": ("it", "base")}, "of base, chat, or null"),
        ({"diff_pair": ("base", "base")}, "diff_pair is two different models"),
        ({"dtype": "int8"}, "dtype is bfloat16, float32, float16 or float64, not 'int8'"),
        ({"lms": {}}, r"lms are models by name, .* not \{\}"),
        ({"lms": {"a": "x"}}, "lms are models by name, .* but 'a' is 'x'"),
        ({"lms": {"a": {"weight": "x"}}}, "'a' has weight, but .* by weights, adapter"),
        ({"lms": {"a": {"seed": 0, "drft": 1}}}, "has seed, drft, but .* by seed, drift"),
    ],
)
def test_arguments_of_a_pair_are_refused_by_name(arguments, message):
    with pytest.raises(UserError, match=message):
        load_pair("tiny", **arguments)


def test_pairs_and_models_that_do_not_exist_are_refused(tiny_pair):
    for name in ("none", "../models/tiny", ""):
        with pytest.raises(UserError, match=r"conf/models has .*tiny"):
            load_pair(name)
    with pytest.raises(UserError, match="no models named 'it'; there is base, chat"):
        tiny_pair.sources(names=["it"])
    with pytest.raises(UserError, match=r"models are a list of names, e\.g\. \['base'\]"):
        tiny_pair.sources(names="base")


def test_a_pair_of_other_names_simply_compares_none():
    pair = Pair({"a": {"seed": 0}, "b": {"seed": 1}}, layer=1, dtype="float32", device="cpu")
    assert pair.sources().diff_pair is None


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_edited_with_is_refused(tiny_pair):
    made = crosscoder.Crosscoder(tiny_pair.sources(), 8, TopK(2)).fold()
    change = ablate(made, [0])
    for positions in ("firts", "first-0", 3, None):
        with (
            pytest.raises(UserError, match="positions are all, prompt, response, last or first-N"),
            tiny_pair.edit("chat", change, positions=positions),
        ):
            pass
    for other in ([0], made, None):
        with (
            pytest.raises(UserError, match="change is an intervention"),
            tiny_pair.edit("chat", other),
        ):
            pass


# --- what a prompt means ---


def test_a_chat_alternates_between_user_and_assistant():
    user, assistant = "user", "assistant"
    assert make_chat("a") == [{"role": user, "content": "a"}]
    roles = [message["role"] for message in make_chat("a", "b", "c", system="s")]
    assert roles == ["system", user, assistant, user]
    assert crosscoder.make_chat is make_chat


@pytest.mark.usefixtures("unchecked")
def test_a_chat_without_text_is_refused():
    with pytest.raises(UserError, match="at least one turn"):
        make_chat()
    with pytest.raises(UserError, match="expected text in 'content' of message 1, which is 3"):
        make_chat(3)


def test_a_text_is_read_as_it_is_and_a_chat_by_the_template(tiny_pair):
    text = tiny_pair.read("Why?")
    assert set(text.tokens.kind.tolist()) == {Kind.SPECIAL, Kind.PLAIN}
    chat = tiny_pair.read(make_chat("Why?"))
    assert {Kind.CHAT, Kind.TEMPLATE} <= set(chat.tokens.kind.tolist())
    both = tiny_pair.read(["Why?", make_chat("Why?")])
    assert torch.equal(both.tokens.kind, torch.cat([text.tokens.kind, chat.tokens.kind]))


def test_a_pair_and_a_reading_print_as_a_line(tiny_pair):
    assert "base random (seed 0, drift 0), chat random" in repr(tiny_pair)
    assert "chat against base, layer 1, float32" in repr(tiny_pair)
    assert repr(tiny_pair.read("ab")) == ("Reading(3 tokens, acts of [base, chat] of width 32, 32)")
