"""Tokenizer strings as one reads them: `▁Hello`, `Ġhello`, `<0x0A>` and `Ċ` as ` Hello`, ` hello` and `⏎`."""

import re
from collections.abc import Iterable, Sequence

SIGNS = str.maketrans({"▁": " ", "\n": "⏎", "\r": "␍", "\t": "⇥"})
BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def readable(words: Sequence[str]) -> list[str]:
    """Every token of a vocabulary; byte-level ones are recognised by their `Ġ`."""
    byte_level = any("Ġ" in word for word in words) and not any("▁" in word for word in words)
    return [(_from_bytes(word) if byte_level else _from_pieces(word)).translate(SIGNS) for word in words]


def _from_pieces(word: str) -> str:
    byte = BYTE.fullmatch(word)
    return bytes([int(byte[1], 16)]).decode("latin-1") if byte and int(byte[1], 16) < 128 else word


def _from_bytes(word: str) -> str:
    """A special token has characters that stand for no byte and stays as it is; half a character becomes �."""
    if all(character in BYTES for character in word):
        return bytes(BYTES[character] for character in word).decode("utf-8", errors="replace")
    return word


def _byte_table() -> dict[str, int]:
    """Byte-level BPE writes printable bytes as themselves, and the others, in order, as characters from 256 on."""
    printable = {*_span("!", "~"), *_span("¡", "¬"), *_span("®", "ÿ")}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _span(first: str, last: str) -> Iterable[int]:
    return range(ord(first), ord(last) + 1)


BYTES = _byte_table()
