"""Parse a plain setting of the command line: `key=value` with a number, a word, or a list of them.

The full grammar of the command line can also name classes, read the environment and remove
settings. Such settings are not plain.
"""

import re
from dataclasses import dataclass

# keys of Hydra itself begin with _
KEY = re.compile(r"(\+{0,2})([a-z]\w*(?:\.[a-z0-9]\w*)*)", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
WORD = re.compile(r"[A-Za-z][\w-]*|\d+-[a-z]+", re.ASCII)
CONSTANTS = {"true": True, "false": False, "null": None}
NON_FINITE = ("nan", "inf")  # words that are read as numbers
MAX_LENGTH = 500  # characters of a setting

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Plain:
    """A plain setting.

    Args:
        key: Key with dots.
        value: A scalar or a list of scalars.
        items: Text of each scalar.
        is_added: Whether the configuration may lack the key (`+`).
    """

    key: str
    value: Scalar | list[Scalar]
    items: tuple[str, ...]
    is_added: bool = False

    def write(self) -> str:
        """Return the setting as text for the command line."""
        key = f"++{self.key}" if self.is_added else self.key
        if isinstance(self.value, list):
            return f"{key}=[{','.join(self.items)}]"
        return f"{key}={self.items[0]}"


def parse_setting(text: str) -> Plain | None:
    """Parse `key=value`; return None if the setting is not plain."""
    key, sign, written = text.partition("=")
    found = KEY.fullmatch(key)
    if not sign or found is None or len(text) > MAX_LENGTH or not written.isprintable():
        return None
    written = written.strip(" ")
    is_list = written.startswith("[") and written.endswith("]")
    items = _split_list(written[1:-1]) if is_list else [_unquote(written)]
    if not all(_is_plain(item) for item in items):
        return None
    values = [_parse_scalar(item) for item in items]
    value = values if is_list else values[0]
    return Plain(found[2], value, tuple(items), is_added=bool(found[1]))


def _split_list(inner: str) -> list[str]:
    """Split the text between the brackets of a list into its items."""
    inner = inner.strip(" ")
    if not inner:
        return []
    return [_unquote(item.strip(" ")) for item in inner.split(",")]


def _unquote(item: str) -> str:
    for quote in ("'", '"'):
        if len(item) > 1 and item[0] == item[-1] == quote:
            return item[1:-1]
    return item


def _is_plain(item: str) -> bool:
    is_number = NUMBER.fullmatch(item) is not None
    is_word = WORD.fullmatch(item) is not None
    return is_number or (is_word and item.lower() not in NON_FINITE)


def _parse_scalar(item: str) -> Scalar:
    """Parse a scalar as the command line does."""
    if item.lower() in CONSTANTS:
        return CONSTANTS[item.lower()]
    if NUMBER.fullmatch(item) is None:
        return item
    digits = item.replace("_", "")
    return int(digits) if re.fullmatch(r"[+-]?\d+", digits) else float(digits)
