"""Tokens of different tokenizers, paired by the characters that they cover; cf. Algorithm 1 of arXiv 2602.11729.

    words   |The| end| of| 7|.|           a token's key is (message, start, end) of its characters, less white space at its
    bytes   |T|h|e| |e|n|d| |o|f| |7|.|   ends; tokens with equal keys are a pair, here "7" and "."

Up to a pair all models have read the same text, and its tokens say the same. What is not text (BOS, a chat template) has no
key, as every model has its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from crosscoder.lm.text import Document, Tokenizer, located
from crosscoder.types import Kind

Key = tuple[int, int, int]
Token = tuple[int, int]
"""Its id, and its kind (see Kind)."""


@dataclass(frozen=True)
class Keyed:
    """A document as one tokenizer cuts it: a key for every token of its text."""

    tokens: list[Token]
    keys: list[Key | None]


def keyed(tokenizer: Tokenizer, document: Document) -> Keyed:
    """Plain text is message 0; a chat's messages are counted from 0, each without white space around it."""
    texts = [document] if isinstance(document, str) else [message["content"].strip() for message in document]
    ids, kinds, places = located(tokenizer, document)
    tokens = list(zip(ids, kinds, strict=True))
    keys = [
        trimmed(texts, place) if place and kind != Kind.SPECIAL else None
        for (_, kind), place in zip(tokens, places, strict=True)
    ]
    return Keyed(tokens, keys)


def trimmed(texts: Sequence[str], place: Key) -> Key:
    """Without white space at both ends, if anything is left: some tokenizers count the space before a word, others do not."""
    message, start, end = place
    covered = texts[message][start:end]
    if not (bare := covered.strip()):
        return place
    start += covered.index(bare)
    return message, start, start + len(bare)


def paired(*keys: Sequence[Key | None]) -> list[tuple[int, ...]]:
    """The tokens, one of each tokenizer, whose keys are equal, in the order of the text.

    Where several tokens are the bytes of one character, and so have one key, it is the last that has read all of it.
    """
    places = [{key: i for i, key in enumerate(column) if key is not None} for column in keys]
    common = set(places[0]).intersection(*places[1:])
    return sorted(tuple(place[key] for place in places) for key in common)


def steps(texts: Sequence[Keyed], begin: Sequence[int]) -> list[list[list[Token]]]:
    """A document from one pair to the next: of each tokenizer the tokens up to a pair, which ends them.

    Args:
        texts: the document, once per tokenizer.
        begin: how many tokens each leaves out at first, i.e. its BOS. What follows the last pair is left out, too.
    """
    found, starts = [], list(begin)
    for pair in paired(*(text.keys for text in texts)):
        ends = [i + 1 for i in pair]
        found.append([text.tokens[a:b] for text, a, b in zip(texts, starts, ends, strict=True)])
        starts = ends
    return found
