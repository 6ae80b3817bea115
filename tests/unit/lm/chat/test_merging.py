"""Suggestions that replace chats which templates refuse."""

import pytest

from crosscoder.lm.chat.merging import suggest_chats
from crosscoder.lm.chat.template import render
from tests.helpers.chat_templates import GEMMA2, LLAMA2
from tests.unit.lm.chat.test_template import tokenizer_of

SHORT = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def chat(text: str) -> list[dict[str, str]]:
    """Parse `u1 a2`: a user's message "1" and an assistant's "2"; `+` is a blank line in one."""
    messages = []
    for word in text.split():
        content = word[1:].replace("+", "\n\n")
        messages.append({"role": SHORT[word[0]], "content": content})
    return messages


@pytest.mark.parametrize(
    ("refused", "suggested"),
    [
        ("u1 u2 a3", ["u1+2 a3"]),
        ("u1 a2 a3 u4", ["u1 a2+3 u4"]),
        ("a1 u2 a3", ["u2 a3"]),
        ("a1 a2 u3 u4", ["u3+4"]),
        ("s1 u2 a3", ["u1+2 a3"]),
        ("s1 s2 u3 a4", ["s1+2 u3 a4", "u1+2+3 a4"]),
        ("s1 u2 u3 a4", ["s1 u2+3 a4", "u1+2+3 a4"]),
        ("s1 a2 u3 a4", ["s1 u3 a4", "u1+3 a4"]),
        ("u1 s2 a3", ["u1+2 a3"]),
        ("u1 a2 s3 u4", ["u1 a2 u3+4"]),
        ("u1 t2 t3 a4", []),
        ("u1 a2", []),
        ("s1", []),
        ("s1 a2", []),
        ("a1", []),
    ],
)
def test_suggestions_change_the_chat_as_little_as_possible(refused, suggested):
    before = chat(refused)
    assert list(suggest_chats(before)) == [chat(text) for text in suggested]
    assert before == chat(refused)


def test_nothing_is_suggested_for_text():
    assert list(suggest_chats("text")) == []


def test_empty_messages_add_no_blank_line():
    (found,) = suggest_chats(
        [{"role": "system", "content": ""}, {"role": "user", "content": "Why?"}]
    )
    assert found == [{"role": "user", "content": "Why?"}]


@pytest.mark.parametrize("template", [GEMMA2, LLAMA2])
@pytest.mark.parametrize(
    "refused", ["u1 u2 a3", "a1 u2 a3", "s1 s2 u3 a4", "s1 a2 u3 a4", "u1 s2 u3 a4"]
)
def test_strict_templates_accept_the_last_suggestion(template, refused):
    tokenizer = tokenizer_of(template)
    *_, last = suggest_chats(chat(refused))
    assert render(tokenizer, last)
