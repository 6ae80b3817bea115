"""Origins of a rendered chat's characters, against templates that are written in Python.

The templates are in tests/helpers/chat_templates.py.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscoder.core.types import Kind
from crosscoder.lm.chat import spans
from crosscoder.lm.chat.document import Unusable
from crosscoder.lm.chat.gaps import Run
from crosscoder.lm.chat.spans import MAX_TRIALS, locate
from crosscoder.lm.chat.template import render
from crosscoder.lm.text import tokenize
from tests.helpers.chat_templates import PUBLISHED, Template

WORDS = ["You", "I", "user", "a", "model", "assistant", "system", "helpful", "Qwen", "1"]
SIGNS = [".", "'", "{{", "é🙂", " ", "  ", "\n", "\n\n", "\r\n", "\t", "</"]
MARKUP = ["<think>", "</think>", "<tool_response>", "[INST]", "<|im_end|>", "<|end|>"]
TEMPLATE_TEXT = ["Today Date: ", "<end_of_turn>", "You are Qwen, created by Alibaba Cloud."]
AWKWARD = [*WORDS, *SIGNS, *MARKUP, *TEMPLATE_TEXT]
CONTENTS = st.lists(st.sampled_from(AWKWARD), max_size=6).map("".join)
THOUGHTS = st.tuples(CONTENTS, CONTENTS).map(lambda two: f"<think>{two[0]}</think>{two[1]}")


@st.composite
def chats(draw) -> list[dict]:
    """Draw a chat in turns, perhaps with thoughts of the assistant and a system message."""
    chat = []
    for i in range(draw(st.integers(1, 5))):
        if i % 2 == 0:
            chat.append({"role": "user", "content": draw(CONTENTS)})
        else:
            chat.append({"role": "assistant", "content": draw(CONTENTS | THOUGHTS)})
    system = draw(st.none() | CONTENTS)
    if system is None:
        return chat
    return [{"role": "system", "content": system}, *chat]


def find_owners(tokenizer, chat: list[dict], opening: bool) -> tuple[str, list[int | None]]:
    """Return the text, and for each character the number of its message."""
    text, runs = locate(tokenizer, chat, opening)
    found: list[int | None] = [None] * len(text)
    for run in runs:
        length = run.end - run.start
        characters = chat[run.message]["content"][run.first : run.first + length]
        assert characters.lower() == text[run.start : run.end].lower()
        found[run.start : run.end] = [run.message] * length
    return text, found


def render_owners(
    template: Template, chat: list[dict], opening: bool
) -> tuple[str, list[int | None]]:
    """Return the same for the template that is written in Python."""
    rendered = ""
    owners: list[int | None] = []
    for text, owner in template.pieces(chat, opening):
        rendered += text
        owners += [owner] * len(text)
    return rendered, owners


@pytest.mark.parametrize("name", PUBLISHED)
@given(chat=chats(), opening=st.booleans())
def test_every_character_belongs_to_the_message_that_the_template_renders(name, chat, opening):
    template = PUBLISHED[name]
    if chat[0]["role"] == "system" and not template.takes_system:
        chat = chat[1:]
    text, found = find_owners(template.tokenizer(), chat, opening)
    expected_text, expected = render_owners(template, chat, opening)
    assert text == expected_text
    # a message that is only white space may be assigned to the template
    blank = {number for number, message in enumerate(chat) if not message["content"].strip()}
    found = [None if owner in blank else owner for owner in found]
    expected = [None if owner in blank else owner for owner in expected]
    assert found == expected


def list_places(runs: list[Run]) -> set[int]:
    """Return the places of all characters in runs."""
    places: set[int] = set()
    for run in runs:
        places.update(range(run.start, run.end))
    return places


TURNS = "{% for m in messages %}<INSIDE>{% endfor %}"
CHANGED = {
    "lower case": ("{{ m.content | lower }}", "Ab IS ß", "ab is ß"),
    "upper case": ("{{ m.content | upper }}", "Ab is.", "AB IS."),
    "title": ("{{ m.content | title }}", "who is it", "Who Is It"),
    "line breaks": (
        "{{ m.content | replace('\\r\\n', '\\n') | trim }}",
        " a\r\nb\r\nc ",
        "a\nb\nc",
    ),
    "escaped": ("{{ m.content | e }}", "a<b> & c", "a&lt;b&gt; &amp; c"),
    "quoted": ("{{ m.content | tojson }}", 'say "so" now', 'say \\"so\\" now'),
    "cut": ("{{ m.content[:4] }}", "123456", "1234"),
    "last line": ("{{ m.content.split('\\n')[-1] }}", "one\ntwo", "two"),
    "after a word": ("{{ m.content.split('answer: ')[-1] }}", "so the answer: 7", "7"),
    "a switch": (
        "{% if '/think' in m.content %}T{% endif %}{{ m.content.replace('/think', '') }}",
        "go /think on",
        "go  on",
    ),
}


@pytest.mark.parametrize(("inside", "content", "kept"), CHANGED.values(), ids=CHANGED)
def test_the_unchanged_text_of_a_changed_message_belongs_to_the_message(inside, content, kept):
    tokenizer = PUBLISHED["chatml"].tokenizer()
    tokenizer.chat_template = TURNS.replace("INSIDE", inside)
    chat = [{"role": "user", "content": content}]
    text, runs = locate(tokenizer, chat)
    start = text.index(kept)
    places = range(start, start + len(kept))
    found = list_places(runs)
    assert found >= {place for place in places if text[place].isalnum()}
    assert found <= set(places)


@pytest.mark.parametrize(
    "inside",
    [
        "{{ m.content | list | reverse | join('.') }}{{ m.content | length }}",
        "{{ m.content | wordcount }} {{ m.content | upper }}",
    ],
)
def test_templates_that_count_are_followed_or_refused(inside):
    tokenizer = PUBLISHED["chatml"].tokenizer()
    tokenizer.chat_template = TURNS.replace("INSIDE", inside)
    try:
        text, runs = locate(tokenizer, [{"role": "user", "content": "abc de"}])
    except Unusable as error:
        assert "cannot be followed" in str(error)  # noqa: PT017 (either is right)
    else:
        assert {text[place].lower() for place in list_places(runs)} <= set("abc de.")


def test_a_change_that_cannot_be_followed_is_refused():
    tokenizer = PUBLISHED["chatml"].tokenizer()
    word = "{{ 'long' if m.content == 'abc' else 'x' }}"
    tokenizer.chat_template = TURNS.replace("INSIDE", word + "{{ m.content | upper | reverse }}")
    with pytest.raises(Unusable, match="changes the messages in a way that cannot be followed"):
        locate(tokenizer, [{"role": "user", "content": "abc"}])


def test_a_chat_that_the_template_refuses_is_refused():
    with pytest.raises(Unusable, match=r"refuses the chat: Conversation roles must alternate"):
        locate(PUBLISHED["gemma2"].tokenizer(), [{"role": "user", "content": "a"}] * 2)


@pytest.mark.parametrize("name", ["qwen3", "deepseek_r1"])
def test_a_thought_that_the_template_drops_has_no_tokens(name):
    tokenizer = PUBLISHED[name].tokenizer()
    thought = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"}
    chat = [{"role": "user", "content": "You"}, thought, {"role": "user", "content": "I"}]
    ids, kinds = tokenize(tokenizer, chat)
    own_ids = [token for token, kind in zip(ids, kinds, strict=True) if kind == Kind.CHAT]
    assert tokenizer.decode(own_ids) == {"qwen3": "YouHelloI", "deepseek_r1": "You\n\nHelloI"}[name]


def test_a_chat_with_more_characters_than_marks_is_refused():
    with pytest.raises(Unusable, match="at most 851,968 characters"):
        locate(PUBLISHED["chatml"].tokenizer(), [{"role": "user", "content": "a" * 900_000}])


@pytest.fixture
def rendered(monkeypatch) -> list[list[dict]]:
    """Collect the chats that are rendered."""
    chats: list[list[dict]] = []

    def collect(tokenizer, messages, opening=False):
        chats.append(messages)
        return render(tokenizer, messages, opening)

    monkeypatch.setattr(spans, "render", collect)
    return chats


THOUGHT = "<think>\nhm\n</think>\n\nIt is.\n"


@pytest.mark.parametrize(
    ("name", "most"), [("chatml", 2), ("gemma2", 4), ("qwen3", MAX_TRIALS + 8)]
)
@pytest.mark.parametrize(("turns", "length"), [(1, 1), (40, 1), (2, 500)])
def test_a_chat_is_rendered_a_few_times_however_long_it_is(name, most, turns, length, rendered):
    turn = [
        {"role": "user", "content": "Why is it so? " * length},
        {"role": "assistant", "content": THOUGHT * length},
    ]
    locate(PUBLISHED[name].tokenizer(), turn * turns)
    assert 2 <= len(rendered) <= most


def count_lines(work: Callable[[], object]) -> int:
    """Count the lines of the package that run, each as often as it does."""
    package = str(Path(spans.__file__).parent)
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if not frame.f_code.co_filename.startswith(package):
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", ["chatml", "gemma2", "qwen3"])
def test_the_work_grows_no_faster_than_the_text(name):
    tokenizer = PUBLISHED[name].tokenizer()

    def count(length: int) -> int:
        chat = [
            {"role": "user", "content": "Why is it so? " * length},
            {"role": "assistant", "content": THOUGHT * length},
        ]
        return count_lines(lambda: locate(tokenizer, chat))

    count(1)  # what is cached
    n_short = count(40)
    assert n_short > 100
    assert count(160) <= 5 * n_short
