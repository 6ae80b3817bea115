"""Read values of a foreign configuration, with a type check for each."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from crosscoder.errors import UserError

LARGEST_NUMBER = 2**53  # whole numbers below it are exact as floats


def read_setting(
    config: Mapping[str, Any],
    name: str,
    types: type | tuple[type, ...],
    file: str,
    default: Any = ...,
) -> Any:
    """Return a value of a configuration after checking its type.

    Args:
        config: Configuration, as it was parsed.
        name: Key of the value.
        types: Type or types that the value may have; a bool does not count as a number.
        file: File that is named in errors.
        default: Value if the key is missing; without a default the key is required.

    Raises:
        UserError: The key is missing and has no default, or the value is of another type.
    """
    value = config.get(name, default)
    if value is ...:
        raise UserError(f"{file} lacks '{name}'")
    types = types if isinstance(types, tuple) else (types,)
    if value is not default and not _is_instance(value, types):
        expected = " or ".join(one.__name__ for one in types)
        raise UserError(f"{file}: '{name}' is {format_value(value)}, expected {expected}")
    if isinstance(value, int | float) and not abs(value) < LARGEST_NUMBER:
        raise UserError(f"{file}: '{name}' is not a finite number below 2^53")
    return value


def require_choice(value: Any, choices: Sequence[str], name: str) -> Any:
    """Return a value that must be one of `choices`; `name` stands for it in errors."""
    if value not in choices:
        raise UserError(f"{name} is {format_value(value)}; readable are {', '.join(choices)}")
    return value


def format_value(value: Any) -> str:
    """Format a value of a file for a message, cut short where it is long or deeply nested."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python refuses to print numbers with thousands of digits
        return "a number with thousands of digits"


def _is_instance(value: Any, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool) and bool not in types:
        return False
    return isinstance(value, types)


_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_SHORT.maxstring = 100
_SHORT.maxother = 100
