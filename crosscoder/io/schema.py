"""JSON and YAML from anywhere, checked against a schema when it is read.

A schema is a type that pydantic understands: a dataclass, a BaseModel or a builtin such as
dict[str, float]. The parser refuses JSON that is nested too deeply and text that is not Unicode, so
neither ends in a traceback.

    Number   a finite float
    Whole    an integer that fits into 64 bits
    Size     an integer from 1 that fits into 64 bits
    Plain    anything that JSON can hold, with such numbers only
    Object   an object of such values
"""

import functools
import math
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from crosscoder.errors import UserError, first_line
from crosscoder.io.files import read_bytes

MAX_SHOWN = 60  # characters of a value in a message


def _require_plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise ValueError("a whole number does not fit into 64 bits")
    if isinstance(value, str) and _has_surrogate(value):
        raise ValueError("a text is not Unicode")
    if isinstance(value, list):
        for item in value:
            _require_plain(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"a name is not text, but {ascii(key)[:MAX_SHOWN]}")
            _require_plain(item)
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"{type(value).__name__} is no plain value")
    return value


def _has_surrogate(text: str) -> bool:
    """Return whether a text holds half of a surrogate pair, which is not text."""
    return any("\ud800" <= character <= "\udfff" for character in text)


LARGEST = 2**63
Number = Annotated[float, Field(allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=-LARGEST, lt=LARGEST)]
Size = Annotated[int, Field(ge=1, lt=LARGEST)]
Plain = Annotated[Any, AfterValidator(_require_plain)]
Object = dict[str, Plain]


def read_json(path: str | Path, schema: Any) -> Any:
    """Read a JSON file as the type `schema`.

    Raises:
        UserError: The file cannot be read, is not JSON, or does not fit the schema. The message is
            one line and names the place.
    """
    return parse_json(read_bytes(path), schema, str(path))


def parse_json(text: str | bytes, schema: Any, where: str) -> Any:
    """Parse JSON as the type `schema`; `where` names the text in errors.

    Raises:
        UserError: As `read_json`.
    """
    try:
        return _adapter(schema).validate_json(text, strict=True)
    except ValidationError as error:
        raise UserError(f"{where}: {_describe(error)}") from error
    except UnicodeEncodeError as error:  # a str with half of a surrogate pair
        raise UserError(f"{where}: it is not Unicode text") from error


def read_yaml(path: str | Path, schema: Any) -> Any:
    """Read a YAML file of plain values as the type `schema`.

    Tags and references are refused, since no file of this project has any.

    Raises:
        UserError: As `read_json`.
    """
    try:
        content = _PlainLoader(read_bytes(path).decode("utf-8")).get_single_data()
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not YAML: {first_line(error)}") from error
    return check_content(content, schema, str(path))


class _PlainLoader(yaml.SafeLoader):
    """A loader of plain values without references.

    References inside of what they refer to can stand for more values than memory holds.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it refers to parts of itself (&, *): write every value out")
        return super().compose_node(parent, index)


def check_content(content: Any, schema: Any, where: str) -> Any:
    """Check parsed content against the type `schema`; `where` names it in errors.

    Raises:
        UserError: As `read_json`.
    """
    try:
        return _adapter(schema).validate_python(content, strict=True)
    except ValidationError as error:
        raise UserError(f"{where}: {_describe(error)}") from error
    except RecursionError as error:
        raise UserError(f"{where}: it is nested too deeply") from error


@functools.cache
def _adapter(schema: Any) -> TypeAdapter:
    return TypeAdapter(schema)


def _describe(error: ValidationError) -> str:
    """Name the first fault with its place and value, and count the others."""
    first, *others = error.errors(include_url=False, include_context=False)
    place = ".".join(str(step) for step in first["loc"])
    message = " ".join(first["msg"].split()).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if first["type"] == "json_invalid":
        return message
    if place:
        message = f"{place}: {message}"
    if first["type"] != "missing":
        message = f"{message}, not {_shorten(ascii(first['input']))}"
    if others:
        message = f"{message} (and {len(others)} more)"
    return message


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
