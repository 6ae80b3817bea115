"""Compare tokenizers: the ids of the same text, and the tokens that only one of them has.

    base    …  31999 ▁word
    chat    …  31999 ▁word   32000 <|im_start|>   32001 [PAD]
                                                    these agree: common text has the same ids

A finetune may add markers, or rename reserved ones. Markers occur in text that nobody writes by
accident: chat templates and padding. So the tokenizers agree, as long as a model only gets ids that
it has an embedding for (see shared.py). An added word, e.g. `covid`, occurs in common text, so such
tokenizers differ.
"""

import contextlib

from crosscoder.errors import UserError
from crosscoder.lm.chat.template import render
from crosscoder.lm.text import (
    ANSWER,
    QUESTION,
    encode_text,
    find_accepted_chat,
    get_opening,
)
from crosscoder.lm.types import Tokenizer

# text that tokenizers disagree on: white space, digits, bytes, other scripts
PROBES = (
    "Hello  world\n\tfoo_bar(1.50) naïve 你好 \u0085🙂",
    " A line.\r\n\n\n  Another, indented one; it's THE 2nd of 1234567 lines — don't “skip” it…",
    "def f(x: list[int]) -> str:\n    return '\\n'.join(f'{i:>4}' for i in x)"
    "  # Grüße, Привет, שלום, नमस्ते, ﬁ, ½\n",
)
MARKER = "<end_of_turn>"
MAX_WORDS = 1000  # tokens of only one vocabulary that are not markers


def agree_on_text(a: Tokenizer, b: Tokenizer) -> bool:
    """Return whether two tokenizers encode all text alike, except for added markers."""
    first = a.get_vocab()
    second = b.get_vocab()
    if any(second.get(token, number) != number for token, number in first.items()):
        return False
    unlike = first.keys() ^ second.keys()
    words = unlike - _find_markers(a) - _find_markers(b)
    if len(words) > MAX_WORDS:
        return False
    texts = [*PROBES, *sorted(words)]
    if MARKER not in unlike:
        texts.append(MARKER)
    with contextlib.suppress(ValueError):
        return all(encode_text(a, text) == encode_text(b, text) for text in texts)
    return False


def _find_markers(tokenizer: Tokenizer) -> set[str]:
    """Find the added tokens that are not words: special ones, and those in brackets of any kind."""
    found = set()
    for token in tokenizer.added_tokens_decoder.values():
        text = token.content
        if token.special or _is_bracketed(text):
            found.add(text)
    return found


def _is_bracketed(text: str) -> bool:
    if len(text) < 2 or text[0].isspace():
        return False
    return not (text[0].isalnum() or text[-1].isalnum())


def find_template_ids(tokenizer: Tokenizer) -> set[int]:
    """Find the ids of a short chat: those of the chat template and a few more.

    Without a chat template, or if the template accepts no chat, there are none.
    """
    if not tokenizer.chat_template:
        return set()
    with contextlib.suppress(UserError):
        chat = find_accepted_chat(tokenizer, [QUESTION, ANSWER])
        return {*encode_text(tokenizer, render(tokenizer, chat)), *get_opening(tokenizer)}
    return set()


def describe_tokens(tokenizer: Tokenizer, ids: set[int], max_shown: int = 3) -> str:
    """Name the first few tokens with their ids."""
    first = sorted(ids)[:max_shown]
    names = []
    for number, token in zip(first, tokenizer.convert_ids_to_tokens(first), strict=True):
        names.append(f"{token!r} ({number})")
    if len(ids) > max_shown:
        names.append("…")
    return ", ".join(names)
