"""Divide one set of questions into the questions to choose latents on, and those to measure on."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from crosscoder.behaviours.questions import SWAPPED
from crosscoder.values import require_choice


@dataclass(frozen=True)
class Half:
    """Every second id of a set of questions, in all its groups.

    Args:
        questions: Rows for `load_questions`.
        part: "train" has the first id, the third, and so on; "heldout" has the others.
    """

    questions: Iterable[Any]
    part: Literal["train", "heldout"]

    def __post_init__(self) -> None:
        require_choice("part", self.part, ("train", "heldout"))

    def __iter__(self) -> Iterator[Any]:
        numbers: dict[str, int] = {}
        wanted = 0 if self.part == "train" else 1
        for row in self.questions:
            number = numbers.setdefault(_get_id(row), len(numbers))
            if number % 2 == wanted:
                yield row


def _get_id(row: Any) -> str:
    """Return the id of a row, without the mark of a question with exchanged options."""
    identifier = row.get("id") if isinstance(row, Mapping) else getattr(row, "id", None)
    return str(identifier).removesuffix(SWAPPED)
