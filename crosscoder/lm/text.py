"""Tokenize prompts, documents and transcripts by one rule, and mark the kind of every token."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from crosscoder.core.types import Kind
from crosscoder.errors import UserError
from crosscoder.lm.chat.document import Document, Message, Unusable, require_text
from crosscoder.lm.chat.gaps import Run
from crosscoder.lm.chat.spans import locate
from crosscoder.lm.chat.template import render
from crosscoder.lm.types import Tokenizer

Place: TypeAlias = tuple[int, int, int]
"""Number of a message (0 for plain text), first character in it, end."""

QUESTION = {"role": "user", "content": "?"}
ANSWER = {"role": "assistant", "content": "@@"}
SYSTEM = {"role": "system", "content": "."}


def tokenize(
    tokenizer: Tokenizer, document: Document, opening: bool = False
) -> tuple[list[int], list[int]]:
    """Tokenize plain text or a chat, with BOS exactly once at the beginning.

    Args:
        tokenizer: The tokenizer. Its chat template formats a chat.
        document: Text, or a sequence of `{"role": "user" | "assistant", "content": ...}`.
        opening: Whether a chat ends with the chat template's opening of an answer.

    Returns:
        Ids and kinds (see Kind).

    Raises:
        Unusable: The chat template refuses the chat, or the document is not text.
    """
    if not isinstance(document, str):
        ids, kinds, _ = tokenize_with_places(tokenizer, document, opening)
        return ids, kinds
    # not every tokenizer knows which characters its tokens cover
    require_text(document, "the text")
    ids = [*get_bos(tokenizer), *encode_text(tokenizer, document)]
    return ids, _mark_special(tokenizer, ids, [Kind.PLAIN] * len(ids))


def tokenize_with_places(
    tokenizer: Tokenizer, document: Document, opening: bool = False
) -> tuple[list[int], list[int], list[Place | None]]:
    """Tokenize as `tokenize` does, and return the characters that each token covers.

    Returns:
        Ids, kinds, and places; None for tokens without text of a message, e.g. BOS and the tokens
        of a chat template.

    Raises:
        UserError: The tokenizer does not know which characters its tokens cover.
        Unusable: As `tokenize`.
    """
    is_plain = isinstance(document, str)
    if is_plain:
        text = document
        spans = [Run(0, len(document), 0, 0)]
    else:
        text, spans = locate(tokenizer, document, opening)
    require_text(text, "the text")
    if not tokenizer.is_fast:
        raise UserError(
            f"{type(tokenizer).__name__} does not tell which characters its tokens cover"
        )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = encoded["input_ids"]
    offsets = encoded["offset_mapping"]
    first = get_bos(tokenizer)
    # a chat template may render BOS already
    if first and (is_plain or ids[:1] != first):
        ids = [*first, *ids]
        offsets = [(0, 0), *offsets]
    places = _find_places(offsets, spans)
    if is_plain:
        kinds = [Kind.PLAIN] * len(ids)
    else:
        kinds = [Kind.CHAT if place else Kind.TEMPLATE for place in places]
    return ids, _mark_special(tokenizer, ids, kinds), places


def encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of a text without BOS and other special tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def get_opening(tokenizer: Tokenizer) -> list[int]:
    """Return the chat template's tokens that open an answer.

    The list is empty if the tokenizer has no chat template, or the template does not open answers.
    """
    if not tokenizer.chat_template:
        return []
    chat = find_accepted_chat(tokenizer, [QUESTION], [QUESTION, ANSWER, QUESTION])
    closed = encode_text(tokenizer, render(tokenizer, chat))
    opened = encode_text(tokenizer, render(tokenizer, chat, opening=True))
    # a template may end a chat in another way if no answer follows
    n_common = 0
    for a, b in zip(closed, opened, strict=False):
        if a != b:
            break
        n_common += 1
    return opened[n_common:]


def get_stop_id(tokenizer: Tokenizer) -> int:
    """Return the token that ends an answer: the chat template's own, else the end of text.

    Raises:
        UserError: The tokenizer has neither.
    """
    if tokenizer.chat_template:
        chat = find_accepted_chat(tokenizer, [QUESTION, ANSWER])
        text, spans = locate(tokenizer, chat)
        ends = [span.end for span in spans if span.message == len(chat) - 1]
        rest = text[max(ends, default=len(text)) :]
        if ids := encode_text(tokenizer, rest.strip()):
            return int(ids[0])
    if tokenizer.eos_token_id is None:
        raise UserError(
            "the tokenizer has no token that ends a text, and no chat template that ends an answer"
        )
    return int(tokenizer.eos_token_id)  # type: ignore[arg-type]


def get_bos(tokenizer: Tokenizer) -> list[int]:
    """Return the token that texts begin with; an empty list if the tokenizer has none."""
    if tokenizer.bos_token_id is None:
        return []
    return [int(tokenizer.bos_token_id)]  # type: ignore[arg-type]


def find_accepted_chat(tokenizer: Tokenizer, *chats: list[Message]) -> list[Message]:
    """Find the first chat that the chat template accepts, alone or after a system message.

    Raises:
        UserError: The template accepts none of them.
    """
    refusal: Unusable | None = None
    for before in ([], [SYSTEM]):
        for chat in chats:
            try:
                render(tokenizer, [*before, *chat])
                return [*before, *chat]
            except Unusable as error:
                refusal = refusal or error
    raise UserError(f"the chat template accepts no question and answer: {refusal}")


def _find_places(offsets: Sequence[tuple[int, int]], spans: Sequence[Run]) -> list[Place | None]:
    """Find the place of each token in the messages; None if it covers no text of a message.

    Args:
        offsets: Characters [start, end) that each token covers in the whole text.
        spans: The pieces of messages in the whole text.
    """
    if not offsets or not spans:
        return [None] * len(offsets)
    first, end = np.array(offsets).T
    rows = [(span.start, span.end, span.message, span.first - span.start) for span in spans]
    span_first, span_end, message, moved = np.array(rows).T
    nearest = np.searchsorted(span_end, first, side="right").clip(max=len(spans) - 1)
    is_inside = (span_first[nearest] < end) & (first < span_end[nearest])
    begins = np.maximum(first, span_first[nearest]) + moved[nearest]
    ends = np.minimum(end, span_end[nearest]) + moved[nearest]
    found = zip(message[nearest].tolist(), begins.tolist(), ends.tolist(), strict=True)
    places: list[Place | None] = []
    for place, inside in zip(found, is_inside.tolist(), strict=True):
        places.append(place if inside else None)
    return places


def _mark_special(tokenizer: Tokenizer, ids: Sequence[int], kinds: Sequence[int]) -> list[int]:
    special = set(tokenizer.all_special_ids)
    pairs = zip(ids, kinds, strict=True)
    return [Kind.SPECIAL if token in special else kind for token, kind in pairs]
