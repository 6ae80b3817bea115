"""Checks of settings: numbers, choices, names. An error names the setting in one line.

A truth value is not a number here, although Python counts it as one. A whole number is written
without a point or an exponent, so 1e3 is not one.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from crosscoder.errors import UserError


def require_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> None:
    """Refuse a value that is not a whole number from `least` to `most`.

    Raises:
        UserError: The value is refused; the message names the setting, its range and the value.
    """
    if is_whole(value) and value >= least and (most is None or value <= most):
        return
    bounds = f"from {least:,}" if most is None else f"from {least:,} to {most:,}"
    hint = ""
    if isinstance(value, float) and value.is_integer():
        hint = f": write {int(value)}, without a point or an exponent"
    raise UserError(f"{name} is a whole number {bounds}, not {value!r}{hint}")


def require_number(
    name: str,
    value: Any,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Refuse a value that is not a finite number within bounds.

    Args:
        name: Name of the setting.
        value: The value.
        least: Inclusive lower bound.
        most: Inclusive upper bound.
        above: Exclusive lower bound.
        below: Exclusive upper bound.

    Raises:
        UserError: The value is refused; the message names the setting, its range and the value.
    """
    bounds = []
    if least is not None:
        bounds.append(f"from {least:g}")
    if above is not None:
        bounds.append(f"above {above:g}")
    if most is not None:
        bounds.append(f"to {most:g}")
    if below is not None:
        bounds.append(f"below {below:g}")
    expected = " ".join(["a number", *bounds])
    if not is_finite(value):
        raise UserError(f"{name} is {expected}, not {value!r}")
    is_low = (least is not None and value < least) or (above is not None and value <= above)
    is_high = (most is not None and value > most) or (below is not None and value >= below)
    if is_low or is_high:
        raise UserError(f"{name} is {expected}, not {value!r}")


def require_fraction(name: str, value: Any, above: float | None = None) -> None:
    """Refuse a value that is not a fraction from 0 to 1, or above `above`."""
    least = 0 if above is None else None
    require_number(name, value, least=least, above=above, most=1)


def require_choice(name: str, value: Any, choices: Sequence[Any], hint: str = "") -> None:
    """Refuse a value that is none of the choices.

    Args:
        name: Name of the setting.
        value: The value.
        choices: The allowed values, in the order in which the message lists them.
        hint: Text that follows the message, e.g. "; write …".

    Raises:
        UserError: The value is refused; the message lists the choices.
    """
    is_known = any(type(value) is type(choice) and value == choice for choice in choices)
    if not is_known:
        raise UserError(f"{name} is {list_choices(choices)}, not {value!r:.80}{hint}")


def require_flag(name: str, value: Any) -> None:
    """Refuse a value that is neither True nor False."""
    if not isinstance(value, bool):
        raise UserError(f"{name} is true or false, not {value!r:.80}")


def require_names(what: str, names: Any, known: Collection[str]) -> None:
    """Refuse anything but a list of known names.

    Args:
        what: Plural of what the names are of, e.g. "models".
        names: The value; one name alone is refused, because it would be read letter by letter.
        known: The names that exist.

    Raises:
        UserError: The value is refused; the message lists the names that exist.
    """
    is_list = isinstance(names, Sequence) and not isinstance(names, str | bytes)
    if not is_list or not names:
        example = f"[{next(iter(known), '')!r}]"
        raise UserError(f"{what} are a list of names, e.g. {example}, not {names!r:.80}")
    for name in names:
        if name not in known:
            raise UserError(f"no {what} named {name!r:.80}; there is {', '.join(known)}")


def list_choices(choices: Sequence[Any]) -> str:
    """Return `a, b or c`; None is written as `null`, as in YAML."""
    words = ["null" if choice is None else str(choice) for choice in choices]
    *firsts, last = words
    return f"{', '.join(firsts)} or {last}" if firsts else last


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Return whether a value is a number that is neither NaN nor infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(value, int):  # it may be too large for a float
        return True
    return math.isfinite(value)


def require_types(prefix: str, settings: Any) -> None:
    """Refuse fields of a dataclass whose values are of another type than their annotation says.

    Whole numbers, which count something or seed something, are from 0; further bounds are checked
    where the class is. Fields of other types than numbers, truth values and choices are left alone.

    Args:
        prefix: Name of the settings in messages, e.g. "eval.patching".
        settings: Instance of a dataclass.

    Raises:
        UserError: A value is refused; the message names the setting and the value.
    """
    for field in fields(settings):
        is_union = isinstance(field.type, UnionType)
        allowed = get_args(field.type) if is_union else (field.type,)
        value = getattr(settings, field.name)
        if value is None and type(None) in allowed:
            continue
        name = f"{prefix}.{field.name}"
        if get_origin(field.type) is Literal:
            require_choice(name, value, get_args(field.type))
        elif all(kind in (int, type(None)) for kind in allowed):
            require_whole(name, value, least=0)
        elif all(kind in (int, float, type(None)) for kind in allowed):
            require_number(name, value)
        elif field.type is bool:
            require_flag(name, value)
