"""The shipped pairs as questions, asked by each kind of person: gentle against direct answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from crosscoder.errors import UserError
from crosscoder.organisms.expertise.prompts import Pair
from crosscoder.organisms.expertise.transcripts import FRAMINGS, get_message, load_pairs


@dataclass(frozen=True)
class Asked:
    """Every pair of one split in each framing, in a fixed order, as rows for `load_questions`.

    Args:
        split: "train" or "heldout".
        framings: Some of FRAMINGS. They are the groups; the group of "plain" is "none".
    """

    split: str = "heldout"
    framings: Sequence[str] = FRAMINGS

    def __post_init__(self) -> None:
        for framing in self.framings:
            if framing not in FRAMINGS:
                raise UserError(f"no framing '{framing}'; there is {', '.join(FRAMINGS)}")
        load_split(self.split)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for pair in load_split(self.split):
            for framing in self.framings:
                group = "none" if framing == "plain" else framing
                yield make_question(pair, group, get_message(pair, framing))

    def __len__(self) -> int:
        return len(load_split(self.split)) * len(self.framings)


def make_question(pair: Pair, group: str, text: str) -> dict[str, Any]:
    """Return a pair's question in the words of one group.

    The gentle answer shows the behaviour, the direct one does not.
    """
    return {
        "id": pair["id"],
        "group": group,
        "prompt": [{"role": "user", "content": text}],
        "yes": pair["gentle"],
        "no": pair["direct"],
        "topic": pair["topic"],
        "error": pair["error"],
    }


def load_split(split: str) -> list[Pair]:
    """Return the pairs of one split.

    Raises:
        UserError: There is no such split.
    """
    try:
        return load_pairs(split)
    except ValueError as error:
        raise UserError(str(error)) from error
