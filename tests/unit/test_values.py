import math
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscoder.errors import UserError
from crosscoder.values import (
    require_choice,
    require_fraction,
    require_names,
    require_number,
    require_types,
    require_whole,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [1, 7, 10**400])
def test_whole_numbers_pass(value):
    require_whole("k", value)


@pytest.mark.parametrize("value", [0, -1, True, False, 1.0, 1e3, NAN, INF, "abc", "3", None, [3]])
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(UserError, match="k is a whole number from 1, not "):
        require_whole("k", value)


def test_a_whole_number_written_as_another_is_shown_as_it_should_be():
    with pytest.raises(UserError, match=r"not 3000000\.0: write 3000000, without"):
        require_whole("train_tokens", 3e6)
    with pytest.raises(UserError, match="from 0 to 9, not 10"):
        require_whole("seed", 10, least=0, most=9)


@pytest.mark.parametrize("value", [NAN, INF, -INF, True, "1e-3", None, 0, -1.0])
def test_what_is_no_number_above_zero_is_named(value):
    with pytest.raises(UserError, match="lr is a number above 0, not "):
        require_number("lr", value, above=0)
    require_number("lr", 10**400, above=0)


@pytest.mark.parametrize("value", [-0.1, 1.1, NAN, "half", True])
def test_a_share_is_from_0_to_1(value):
    with pytest.raises(UserError, match="is a number from 0 to 1, not"):
        require_fraction("share", value)
    require_fraction("share", 0)
    require_fraction("share", 1)


# --- choices, names and types ---


@pytest.mark.parametrize("value", ["Solo", "", None, 1, True, ["solo"], float("nan")])
def test_what_is_no_choice_is_refused_with_the_choices(value):
    with pytest.raises(UserError, match="mode is paired, solo or 0, not"):
        require_choice("mode", value, ("paired", "solo", 0))


def test_choices_are_accepted_by_type():
    require_choice("align", None, ("spans", None))
    with pytest.raises(UserError, match="layer is 0 or null, not False"):
        require_choice("layer", False, (0, None))


@pytest.mark.parametrize("value", ["base", [], None, 3, b"base"])
def test_names_are_a_list(value):
    with pytest.raises(UserError, match=r"models are a list of names, e\.g\. \['base'\], not"):
        require_names("models", value, ["base", "chat"])


def test_unknown_names_are_refused_with_the_known_ones():
    require_names("models", ["chat"], ["base", "chat"])
    with pytest.raises(UserError, match="no models named 'it'; there is base, chat"):
        require_names("models", ["base", "it"], ["base", "chat"])


@dataclass(frozen=True)
class Settings:
    n: int = 3
    limit: int | None = None
    weight: float = 0.5
    ratio: float | None = None
    is_on: bool = True
    mode: Literal["a", "b"] = "a"
    text: str = "anything"

    def __post_init__(self) -> None:
        require_types("eval", self)


@pytest.mark.parametrize("setting", ["n", "limit", "weight", "ratio", "is_on", "mode"])
@pytest.mark.parametrize("value", ["zz", math.nan, [1]])
def test_settings_of_another_type_are_refused_by_name(setting, value):
    with pytest.raises(UserError, match=rf"^eval\.{setting} is "):
        Settings(**{setting: value})


@given(
    st.integers(0),
    st.none() | st.integers(0),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
def test_settings_of_the_right_type_are_accepted(n, limit, weight, is_on):
    Settings(n, limit, weight, weight, is_on, "b", "x")
