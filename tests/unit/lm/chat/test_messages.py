"""All forms that chats have in data sets become one form; other content is refused."""

import pytest

from crosscoder.lm.chat import document
from crosscoder.lm.chat.document import Unusable
from crosscoder.lm.chat.messages import as_document

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
TEXT = {"type": "text", "text": "Why?"}

SAME = {
    "ShareGPT": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}],
    "ShareGPT, other names": [
        {"from": "user", "value": "Why?"},
        {"from": "chatgpt", "value": "Because."},
    ],
    "Gemma's role": [{"role": "user", "content": "Why?"}, {"role": "model", "content": "Because."}],
    "text for content": [{"role": "human", "text": "Why?"}, {"role": "bot", "text": "Because."}],
    "both keys, one null": [
        {"role": None, "from": "human", "content": None, "value": "Why?"},
        {"role": "assistant", "from": None, "content": "Because.", "value": None},
    ],
    "parts": [{"role": "user", "content": [TEXT]}, {"role": "assistant", "content": ["Because."]}],
    "parts as datasets unify them": [
        {"role": "user", "content": [{**TEXT, "image_url": None}]},
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Because.", "image_url": None}],
        },
    ],
    "columns": {"role": ["user", "assistant"], "content": ["Why?", "Because."], "score": [0, 1]},
    "ShareGPT in columns": {
        "from": ["human", "gpt"],
        "value": ["Why?", "Because."],
        "weight": None,
    },
    "a tuple": tuple(CHAT),
}


@pytest.mark.parametrize("chat", SAME.values(), ids=SAME)
def test_every_form_becomes_the_same_chat(chat):
    assert as_document(chat) == CHAT


def test_the_system_keeps_its_role():
    assert as_document([{"from": "system", "value": "Be kind."}, *SAME["ShareGPT"]])[0] == {
        "role": "system",
        "content": "Be kind.",
    }


def test_parts_are_joined_by_a_blank_line():
    (message,) = as_document(
        [{"role": "user", "content": [TEXT, {"type": "text", "text": "Tell me."}]}]
    )
    assert message["content"] == "Why?\n\nTell me."


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        (
            [CHAT[0], {"role": "assistant", "content": None, "tool_calls": [{}]}],
            "message 2 has tool calls and no text",
        ),
        (
            [CHAT[0], {"role": "assistant", "content": "", "tool_calls": [{}]}],
            "message 2 has tool calls and no text",
        ),
        (
            [{"role": "user", "content": [TEXT, {"type": "image_url", "image_url": {}}]}],
            "a part of type 'image_url'",
        ),
        (
            [{"role": "user", "content": [{"type": "image"}, TEXT]}],
            "message 1 has a part of type 'image'",
        ),
        (
            [{"role": "user", "content": [{"type": "text", "text": None}]}],
            "message 1 has a part without text",
        ),
        ([{"role": "user", "content": []}], r"text in 'content' of message 1, which is \[\]"),
        ([{"role": "user", "content": {"a": 1}}], "which is {'a': 1}"),
        (
            [{"role": "user", "content": ""}, {"role": "assistant", "content": " \n"}],
            "all of its 2 messages are empty",
        ),
        ({"role": ["user"], "content": ["a", "b"]}, "found an object with role, content"),
        ({}, "found {}"),
        (b"bytes", "found b'bytes'"),
        ([{"role": "user", "\x1b[31m" + "k" * 500: 1}], r"it has role, \\x1b\[31mk{32}…$"),
    ],
)
def test_chats_that_are_not_text_are_refused(chat, reason):
    with pytest.raises(Unusable, match=reason):
        as_document(chat)


def test_a_document_that_is_too_long_is_refused(monkeypatch):
    for module in ("crosscoder.lm.chat.document", "crosscoder.lm.chat.messages"):
        monkeypatch.setattr(f"{module}.MAX_CHARACTERS", 20)
    with pytest.raises(Unusable, match="it has 21 characters, at most 20 are read as one document"):
        as_document("x" * 21)
    with pytest.raises(Unusable, match="the chat has more than 20 characters"):
        as_document([{"role": "user", "content": "x" * 11}] * 2)
    assert document.MAX_CHARACTERS == 20
