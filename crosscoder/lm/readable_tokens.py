"""Make tokenizer strings readable: `▁Hello`, `Ġhello`, `<0x0A>`, `Ċ` → ` Hello`, ` hello`, `⏎`."""

import re
from collections.abc import Iterable, Sequence

WHITESPACE_SIGNS = str.maketrans({"\n": "⏎", "\r": "␍", "\t": "⇥"})
BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def make_readable(words: Sequence[str]) -> list[str]:
    """Return every token of a vocabulary in readable form, with signs for line breaks and tabs."""
    return [text.translate(WHITESPACE_SIGNS) for text in decode_tokens(words)]


def decode_tokens(words: Sequence[str]) -> list[str]:
    """Return the text that every token of a vocabulary stands for.

    A vocabulary with `Ġ` and without `▁` is a byte-level one.
    """
    has_byte_space = any("Ġ" in word for word in words)
    has_piece_space = any("▁" in word for word in words)
    decode = _decode_bytes if has_byte_space and not has_piece_space else _decode_piece
    return [decode(word).replace("▁", " ") for word in words]


def _decode_piece(word: str) -> str:
    """Decode a byte token; other pieces stay as they are."""
    byte = BYTE.fullmatch(word)
    if not byte or int(byte[1], 16) >= 128:
        return word
    return bytes([int(byte[1], 16)]).decode("latin-1")


def _decode_bytes(word: str) -> str:
    """Decode a byte-level token; incomplete characters become �.

    A special token contains characters that stand for no byte, and stays as it is.
    """
    if not all(character in BYTE_BY_CHARACTER for character in word):
        return word
    content = bytes(BYTE_BY_CHARACTER[character] for character in word)
    return content.decode("utf-8", errors="replace")


def _build_byte_table() -> dict[str, int]:
    """Return the byte of each character of byte-level BPE.

    Printable bytes stand for themselves; the others, in order, for characters from 256 on.
    """
    printable = {
        *_character_range("!", "~"),
        *_character_range("¡", "¬"),
        *_character_range("®", "ÿ"),
    }
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    for i, byte in enumerate(others):
        table[chr(256 + i)] = byte
    return table


def _character_range(first: str, last: str) -> Iterable[int]:
    return range(ord(first), ord(last) + 1)


BYTE_BY_CHARACTER = _build_byte_table()
