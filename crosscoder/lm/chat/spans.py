"""Find which characters of a rendered chat belong to messages, and which to the template.

Templates trim, drop (text before `</think>`), repeat and reorder the contents of messages, and a
message may contain text of the template. Therefore the chat is rendered a second time with a *mark*
in place of every character of its messages: a code point without a character in Unicode, a
different one each time. Marks appear where the template puts the characters:

    message        template                               rendered          with marks
    " Hi "         <user>{{ content | trim }}<end>        <user>Hi<end>     <user>①②<end>

If replacing the marks by their characters restores the true text, the marks give the origin of
every character. If not, the template looks at the contents. Then the characters that it may look
for are left literal, without a mark, step by step (see `_list_levels`), until the two texts agree.
A third rendering separates literal characters from the template's text (see edges.py).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jinja2 import Environment

from crosscoder.lm.chat.document import Unusable
from crosscoder.lm.chat.edges import assign_literals
from crosscoder.lm.chat.gaps import Run, gather_runs
from crosscoder.lm.chat.marks import Marks, restore_text
from crosscoder.lm.chat.template import get_template, render
from crosscoder.lm.types import PreTrainedTokenizerBase

MAX_TRIALS = 40


@dataclass
class Literal:
    """The characters that are rendered without a mark.

    Attributes:
        mask: True for literal characters of the messages.
        tags: True for those that are markup which the template looks for.
        candidates: Masks of characters that may get marks after all; larger ones come before the
            smaller ones in them.
    """

    mask: np.ndarray
    tags: np.ndarray
    candidates: list[np.ndarray]


def locate(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict], opening: bool = False
) -> tuple[str, list[Run]]:
    """Render a chat and find the messages' characters in it, in the order of the text.

    Raises:
        Unusable: The template refuses the chat, or changes messages in a way that cannot be
            followed.
    """

    def render_contents(contents: list[str]) -> str | None:
        """Render the same chat with other contents; None if the template refuses them."""
        others = []
        for message, content in zip(messages, contents, strict=True):
            others.append({**message, "content": content})
        try:
            return render(tokenizer, others, opening)
        except Unusable:
            return None

    def find_origins(literal: np.ndarray) -> np.ndarray | None:
        return restore_text(render_contents(marks.write_contents(literal)), text, marks)

    text = render(tokenizer, messages, opening)
    marks = Marks([message["content"] for message in messages])
    for literal in _list_levels(get_template(tokenizer), marks):
        origins = find_origins(literal.mask)
        if origins is None:
            continue
        origins = _add_marks(literal, origins, find_origins)
        if assign_literals(origins, text, marks, literal.mask, literal.tags, render_contents):
            return text, gather_runs(origins, marks)
    raise Unusable(
        "the chat template changes the messages in a way that cannot be followed "
        "character by character"
    )


def _list_levels(template: str, marks: Marks) -> Iterator[Literal]:
    """Yield the literal characters, more at each level.

    First none; then white space at the ends of messages; then all white space and the template's
    own strings that are markup, such as `</think>`; last everything but letters and digits, and all
    of the template's own strings.
    """
    nothing = np.zeros(len(marks.text), dtype=bool)
    yield Literal(nothing, nothing, [])
    yield Literal(marks.find_edge_spaces(), nothing, [])
    strings = _list_strings(template)
    markup = [string for string in strings if not string.isalnum() and not string.isspace()]
    tags = marks.find_strings(markup)
    is_tag = marks.make_mask(tags)
    is_space = marks.find_characters(str.isspace)
    candidates = _list_candidates(marks, tags, is_space)
    yield Literal(is_space | is_tag, is_tag, candidates)
    words = marks.find_strings([string for string in strings if string.isalnum()])
    is_word = marks.make_mask(words)
    is_other = ~marks.find_characters(str.isalnum)
    yield Literal(is_other | is_tag | is_word, is_tag.copy(), candidates)


def _list_candidates(marks: Marks, tags: list[slice], is_space: np.ndarray) -> list[np.ndarray]:
    """List masks of white space and markup that may get marks, the largest first.

    Templates trim white space next to markup. Each of its stretches of one character may be kept or
    not.
    """
    is_tag = marks.make_mask(tags)
    is_touching = marks.make_mask(marks.find_spaces_next_to(is_tag))
    stretches = []
    for match in re.finditer(r"(\s)\1*", marks.text):
        if is_touching[match.start()]:
            stretches.append(slice(match.start(), match.end()))
    candidates = [is_space & ~is_touching]
    for message in range(len(marks)):
        is_own = marks.make_mask([marks.get_slice(message)])
        candidates += [is_space & ~is_touching & is_own, is_tag & is_own, is_touching & is_own]
        for place in [*tags, *stretches]:
            if is_own[place].any():
                candidates.append(marks.make_mask([place]))
    return candidates


def _add_marks(
    literal: Literal, origins: np.ndarray, find_origins: Callable[[np.ndarray], np.ndarray | None]
) -> np.ndarray:
    """Mark every candidate that can be marked and return the resulting origins.

    At most MAX_TRIALS candidates are tried.
    """
    n_trials = 0
    for candidate in literal.candidates:
        if n_trials == MAX_TRIALS or not (literal.mask & candidate).any():
            continue
        n_trials += 1
        found = find_origins(literal.mask & ~candidate)
        if found is not None:
            origins = found
            literal.mask = literal.mask & ~candidate
            literal.tags = literal.tags & ~candidate
    return origins


@lru_cache(maxsize=16)
def _list_strings(template: str) -> tuple[str, ...]:
    """List the strings of two or more characters in a template's expressions."""
    found = set()
    environment = Environment()  # noqa: S701 (only its lexer is used)
    for token in environment.lexer.tokenize(template):
        if token.type == "string":
            found.add(str(token.value))
    return tuple(sorted(text for text in found if len(text) > 1))
