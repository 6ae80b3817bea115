"""Text to ids: the same rule for prompts, documents and transcripts, with every token's kind marked."""

from collections.abc import Sequence
from typing import TypeAlias

from transformers import PreTrainedTokenizerBase

from crosscoder.errors import UserError
from crosscoder.types import Kind

Tokenizer: TypeAlias = PreTrainedTokenizerBase
Message: TypeAlias = dict[str, str]
Document: TypeAlias = str | Sequence[Message]
Place: TypeAlias = tuple[int, int, int]
"""Number of a message (0 of plain text), and where in it: first character and end."""


def tokenize(tokenizer: Tokenizer, document: Document, opening: bool = False) -> tuple[list[int], list[int]]:
    """Ids and kinds (see Kind) of plain text or of a chat, beginning with BOS exactly once.

    A chat is a sequence of `{"role": "user" | "assistant", "content": ...}`, formatted with the tokenizer's chat template;
    with `opening` it goes on to where the assistant is to answer.
    """
    if isinstance(document, str):  # not all tokenizers tell where their tokens lie
        ids = [*bos(tokenizer), *tokenizer(document, add_special_tokens=False)["input_ids"]]
        return ids, _kinds(tokenizer, ids, [Kind.PLAIN] * len(ids))
    ids, kinds, _ = located(tokenizer, document, opening)
    return ids, kinds


def located(
    tokenizer: Tokenizer, document: Document, opening: bool = False
) -> tuple[list[int], list[int], list[Place | None]]:
    """The same with the characters that each token covers; None: none of a message's, as BOS and a chat template."""
    plain = isinstance(document, str)
    text = document if plain else _formatted(tokenizer, document, opening)
    spans = [(0, len(text))] if plain else _content_spans(text, document)
    if not tokenizer.is_fast:
        raise UserError(f"{type(tokenizer).__name__} does not tell which characters its tokens cover")
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if (first := bos(tokenizer)) and (plain or ids[:1] != first):  # a template may render BOS already
        ids, offsets = [*first, *ids], [(0, 0), *offsets]
    places = [_place(start, end, spans) for start, end in offsets]
    inside = Kind.PLAIN if plain else Kind.CHAT
    return ids, _kinds(tokenizer, ids, [inside if place or plain else Kind.TEMPLATE for place in places]), places


def opening(tokenizer: Tokenizer) -> list[int]:
    """The chat template's tokens by which the assistant is asked to answer; none without a template."""
    if not tokenizer.chat_template:
        return []
    chat = [{"role": "user", "content": "?"}]
    asked, answering = (
        str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=on)) for on in (False, True)
    )
    return list(tokenizer(answering.removeprefix(asked), add_special_tokens=False)["input_ids"])


def stop(tokenizer: Tokenizer) -> int:
    """The token that ends an answer: the chat template's own, else the end of text."""
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "@@"}]
        rest = str(tokenizer.apply_chat_template(chat, tokenize=False)).rpartition("@@")[2]
        if ids := tokenizer(rest.strip(), add_special_tokens=False)["input_ids"]:
            return int(ids[0])
    return int(tokenizer.eos_token_id)  # type: ignore[arg-type]


def bos(tokenizer: Tokenizer) -> list[int]:
    """The token that texts begin with; not all tokenizers have one."""
    return [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]  # type: ignore[arg-type]


def _formatted(tokenizer: Tokenizer, messages: Sequence[Message], opening: bool) -> str:
    if not tokenizer.chat_template:
        raise UserError("a chat needs a tokenizer with a chat template, and neither model's has one")
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=opening))


def _content_spans(text: str, messages: Sequence[Message]) -> list[tuple[int, int]]:
    spans, start = [], 0
    for message in messages:
        content = message["content"].strip()
        start = text.index(content, start)
        spans.append((start, start + len(content)))
        start += len(content)
    return spans


def _place(start: int, end: int, spans: Sequence[tuple[int, int]]) -> Place | None:
    """Which part of which span [a, b) characters lie in, if in any."""
    inside = ((i, max(start, a) - a, min(end, b) - a) for i, (a, b) in enumerate(spans) if start < b and a < end)
    return next(inside, None)


def _kinds(tokenizer: Tokenizer, ids: Sequence[int], kinds: Sequence[int]) -> list[int]:
    special = set(tokenizer.all_special_ids)
    return [Kind.SPECIAL if token in special else kind for token, kind in zip(ids, kinds, strict=True)]
