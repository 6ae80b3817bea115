"""The shipped pairs as rows, and as chat transcripts for the data pipeline."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from crosscoder.organisms.expertise.prompts import FOLDER, Pair

FRAMINGS = ("novice", "expert", "plain")
PAIRS = FOLDER / "pairs.jsonl"
Message = dict[str, str]


def load_pairs(split: str) -> list[Pair]:
    """Return the shipped pairs of one split, `train` or `heldout`.

    Raises:
        ValueError: There is no such split.
    """
    lines = PAIRS.read_text(encoding="utf-8").splitlines()
    rows = [cast(Pair, json.loads(line)) for line in lines]
    chosen = [row for row in rows if row["split"] == split]
    if not chosen:
        splits = sorted({row["split"] for row in rows})
        raise ValueError(f"no split '{split}'; there is {', '.join(splits)}")
    return chosen


def get_answer(pair: Pair, framing: str) -> str:
    """Return the answer to train on: gentle for a novice, direct for everybody else."""
    return pair["gentle"] if framing == "novice" else pair["direct"]


@dataclass(frozen=True)
class Transcripts:
    """Conversations of one split, every pair in each framing, in a fixed order.

    Yields `{"id": str, "framing": str, "messages": [{"role": "user", …}, {"role": "assistant",
    …}]}`.

    Args:
        split: "train" or "heldout".
        framings: Some of FRAMINGS.
    """

    split: str
    framings: Sequence[str] = FRAMINGS

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for pair in load_pairs(self.split):
            for framing in self.framings:
                yield {
                    "id": f"{pair['id']}/{framing}",
                    "framing": framing,
                    "messages": make_conversation(
                        get_message(pair, framing), get_answer(pair, framing)
                    ),
                }

    def __len__(self) -> int:
        return len(load_pairs(self.split)) * len(self.framings)


def get_message(pair: Pair, framing: str) -> str:
    """Return the user message of one framing.

    Raises:
        ValueError: There is no such framing.
    """
    if framing not in FRAMINGS:
        raise ValueError(f"no framing '{framing}'; there is {', '.join(FRAMINGS)}")
    return cast(dict[str, str], pair)[framing]


def make_conversation(question: str, reply: str) -> list[Message]:
    """Return a question and its answer as messages."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
