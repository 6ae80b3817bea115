"""Chats are rendered as transformers renders them, on a day that never changes."""

import datetime

import pytest
import transformers.utils.chat_template_utils as in_transformers

from crosscoder.errors import UserError
from crosscoder.lm import TinyLM
from crosscoder.lm.chat.document import Unusable
from crosscoder.lm.chat.template import DATE, has_date, render
from tests.helpers.chat_templates import PUBLISHED

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": " So. "}]
DATED = {"llama3", "gpt_oss", "date_in_loop"}
EVERY_DIRECTIVE = (
    "  {% if true %}{{ strftime_now('%Y %% %%Y %-d/%B %e %p|%c|%H:%M|%y%n') }}{% endif %}\n"
    "{{ messages[0].content }}"
)
IN_A_MACRO = (
    "\n\n{{ strftime_now(format='%d %b %Y').split(' ') | join('-') }}\n"
    "{% macro day() %}{{ strftime_now('%A') }}{% endmacro %}"
    "{% for m in messages %}{{ day() }}"
    "{% generation %}{{ strftime_now('%y') }}{% endgeneration %}{% endfor %}"
)


def tokenizer_of(template: str):
    tokenizer = TinyLM(0).load_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def today(monkeypatch):
    """Return a function that sets today's date."""

    def set_day(day: datetime.datetime) -> None:
        class Day(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return day

        monkeypatch.setattr(in_transformers, "datetime", Day)

    return set_day


@pytest.mark.parametrize("opening", [False, True])
@pytest.mark.parametrize(
    "template", [*(PUBLISHED[name].source for name in DATED), EVERY_DIRECTIVE, IN_A_MACRO]
)
def test_the_text_is_that_of_transformers_on_a_fixed_day(template, opening, today):
    tokenizer = tokenizer_of(template)
    today(DATE)
    expected = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=opening)
    for day in (datetime.datetime(2026, 11, 28), datetime.datetime(2027, 1, 1, 12)):
        today(day)
        assert render(tokenizer, CHAT, opening) == expected
        assert (
            tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=opening)
            != expected
        )
    assert has_date(tokenizer, CHAT)


@pytest.mark.parametrize("name", sorted(PUBLISHED.keys() - DATED))
def test_without_a_date_the_text_equals_that_of_transformers(name):
    tokenizer = PUBLISHED[name].tokenizer()
    assert render(tokenizer, CHAT) == tokenizer.apply_chat_template(CHAT, tokenize=False)
    assert not has_date(tokenizer, CHAT)


def test_a_template_that_does_not_write_the_date_has_none():
    tokenizer = tokenizer_of(
        "{{ messages[0].content }}{% if tools %}{{ strftime_now('%Y') }}{% endif %}"
    )
    assert not has_date(tokenizer, CHAT)


@pytest.mark.parametrize(
    "template", ["{{ ['a', 'b'] | random }}", "{{ messages[0].content }}{{ lipsum(n=1) }}"]
)
def test_a_template_that_draws_at_random_is_refused(template):
    with pytest.raises(UserError, match="the chat template draws at random") as error:
        render(tokenizer_of(template), CHAT)
    # no chat can be rendered, so the error is not about one row
    assert not isinstance(error.value, Unusable)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no chats\nplease') }}", "refuses the chat: no chats"),
        ("{{ messages[7].content.strip() }}", "refuses the chat: .*has no element 7"),
        ("{{ 1 + messages[0].content }}", "refuses the chat: unsupported operand"),
        ("{% for %}", "refuses the chat"),
    ],
)
def test_a_refusal_gives_the_reason_in_one_line(template, reason):
    with pytest.raises(Unusable, match=reason) as error:
        render(tokenizer_of(template), CHAT)
    assert "\n" not in str(error.value)


def test_the_default_template_of_several_is_used():
    tokenizer = tokenizer_of("")
    tokenizer.chat_template = {"default": "{{ messages[0].content }}", "tool_use": "x"}
    assert render(tokenizer, CHAT) == "Why?"
    tokenizer.chat_template = {"rag": "x", "tool_use": "x"}
    with pytest.raises(UserError, match="no default chat template"):
        render(tokenizer, CHAT)
