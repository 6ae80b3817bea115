"""Render chats with a tokenizer's chat template. All chats are rendered here.

A chat is rendered as in transformers, except that the date is always 26 July 2024. Templates ask
for today's date by calling `strftime_now(format)`; with the real date, the same command would give
other tokens each day. The constant is the date that Llama 3's own template falls back to.
transformers replaces a function that is passed to a template by a placeholder, so a macro of that
name is put in front of the template instead.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from crosscoder.errors import UserError, first_line, plain
from crosscoder.lm.chat.document import Refused
from crosscoder.lm.types import PreTrainedTokenizerBase

DATE = datetime(2024, 7, 26)
OTHER_DATE = datetime(2019, 11, 3, 21, 45, 59)
DIRECTIVES = "aAbBcCdDeFgGhHIjklmMnprRStTuUVwWxXyYzZf"
RANDOM = re.compile(r"\|\s*random\b|\blipsum\b")


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[dict],
    opening: bool = False,
    date: datetime = DATE,
) -> str:
    """Render a chat as text.

    Args:
        tokenizer: Tokenizer whose chat template is used.
        messages: Messages of the chat.
        opening: True if the text includes the opening of the assistant's next answer.
        date: Date that the template receives.

    Raises:
        UserError: There is no template, or its text differs from one rendering to the next.
        Refused: The template refuses this chat, e.g. because its roles do not alternate.
    """
    template = _prepare(get_template(tokenizer), date)
    try:
        return str(
            tokenizer.apply_chat_template(
                list(messages),
                chat_template=template,
                tokenize=False,
                add_generation_prompt=opening,
            )
        )
    except Exception as error:  # a template is a program, which can fail in any way
        raise Refused(f"the chat template refuses the chat: {plain(first_line(error))}") from error


def has_date(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict]) -> bool:
    """Return whether the template writes the date into this chat."""
    if "strftime_now" not in get_template(tokenizer):
        return False
    return render(tokenizer, messages) != render(tokenizer, messages, date=OTHER_DATE)


def get_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the source of the chat template that is used without tools.

    Raises:
        UserError: There is no template, or there are several and none is the default.
    """
    if not tokenizer.chat_template:
        raise UserError(
            "a chat needs a tokenizer with a chat template, and neither model's has one"
        )
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:  # several named templates, none of them the default
        raise UserError(
            f"the tokenizer has no default chat template: {first_line(error)}"
        ) from error


@lru_cache(maxsize=16)
def _prepare(template: str, date: datetime) -> str:
    """Put a `strftime_now` of that date in front of a template that asks for the date.

    Raises:
        UserError: The template draws at random.
    """
    random = RANDOM.search(template)
    if random:
        raise UserError(
            f"the chat template draws at random ('{random[0]}'), so its tokens would differ each "
            "time; use a chat template that always writes the same"
        )
    if "strftime_now" not in template:
        return template
    # %% is replaced first and last, so that the "%Y" of "%%Y" is not read as a year
    steps = [("%%", "\0")]
    for directive in DIRECTIVES:
        steps.append((f"%{directive}", date.strftime(f"%{directive}")))
        steps.append((f"%-{directive}", date.strftime(f"%-{directive}")))
    steps.append(("\0", "%"))
    filters = "".join(f" | replace({_quote(old)}, {_quote(new)})" for old, new in steps)
    macro = f"{{% macro strftime_now(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}"
    # trim_blocks removes this line break, so that the template itself is unchanged
    return f"{macro}\n{template}"


def _quote(text: str) -> str:
    """Write text as a string literal of the template language."""
    for character, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(character, escaped)
    return f"'{text}'"
