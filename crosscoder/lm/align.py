"""Pair the tokens of different tokenizers by the characters that they cover.

    words   |The| end| of| 7|.|           a token's key is (message, start, end) of its characters
    bytes   |T|h|e| |e|n|d| |o|f| |7|.|   without white space at both ends; tokens with equal keys
                                          are a pair, here "7" and "."

Up to a pair, all models have read the same text. Tokens without text (BOS, a chat template) have no
key, because every model has its own. Cf. Algorithm 1 of arXiv 2602.11729.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from crosscoder.core.types import Kind
from crosscoder.lm.chat.document import Document
from crosscoder.lm.text import Place, tokenize_with_places
from crosscoder.lm.types import Tokenizer

Key = tuple[int, int, int]
"""Number of a message, first character, end."""
Token = tuple[int, int]
"""Id and kind (see Kind)."""


@dataclass(frozen=True)
class KeyedTokens:
    """A document as one tokenizer cuts it, with a key for every token that has text."""

    tokens: list[Token]
    keys: list[Key | None]


def key_tokens(tokenizer: Tokenizer, document: Document) -> KeyedTokens:
    """Tokenize a document and return the key of every token.

    Plain text is message 0; a chat's messages are counted from 0.
    """
    if isinstance(document, str):
        texts = [document]
    else:
        texts = [message["content"] for message in document]
    ids, kinds, places = tokenize_with_places(tokenizer, document)
    keys: list[Key | None] = []
    for kind, place in zip(kinds, places, strict=True):
        if place is None or kind == Kind.SPECIAL:
            keys.append(None)
        else:
            keys.append(trim_place(texts, place))
    return KeyedTokens(list(zip(ids, kinds, strict=True)), keys)


def trim_place(texts: Sequence[str], place: Place) -> Key:
    """Trim white space at both ends, unless nothing is left.

    Some tokenizers count the space before a word to the word, others do not.
    """
    message, start, end = place
    covered = texts[message][start:end]
    bare = covered.strip()
    if not bare:
        return place
    start += covered.index(bare)
    return message, start, start + len(bare)


def pair_tokens(*keys: Sequence[Key | None]) -> list[tuple[int, ...]]:
    """Find the tokens with equal keys, in the order of the text.

    If several tokens are the bytes of one character, and so have one key, the last of them is
    paired, because it has read all of the character.

    Args:
        *keys: The keys of one document, once per tokenizer.

    Returns:
        The pairs, each with one token number per tokenizer.
    """
    numbers = [_number_keys(column) for column in keys]
    common = set(numbers[0]).intersection(*numbers[1:])
    return sorted(tuple(column[key] for column in numbers) for key in common)


def _number_keys(keys: Sequence[Key | None]) -> dict[Key, int]:
    """Return the number of the last token with each key."""
    return {key: number for number, key in enumerate(keys) if key is not None}


def split_at_pairs(texts: Sequence[KeyedTokens], begin: Sequence[int]) -> list[list[list[Token]]]:
    """Split a document into steps, each of which ends with a pair.

    Tokens after the last pair are left out.

    Args:
        texts: The document, once per tokenizer.
        begin: Number of tokens that are left out at the beginning, i.e. BOS, once per tokenizer.

    Returns:
        The steps, each with a list of tokens per tokenizer.
    """
    steps = []
    starts = list(begin)
    for pair in pair_tokens(*(text.keys for text in texts)):
        ends = [number + 1 for number in pair]
        step = []
        for text, start, end in zip(texts, starts, ends, strict=True):
            step.append(text.tokens[start:end])
        steps.append(step)
        starts = ends
    return steps
