"""Escape control characters in foreign text, so that a terminal does not act on them."""

import re

# C0 and C1 controls except tab and line feed, marks that reverse the direction of text, and halves
# of surrogate pairs
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape_controls(text: str) -> str:
    r"""Write control characters as their numbers, e.g. the escape character as `\x1b`."""
    return CONTROLS.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
