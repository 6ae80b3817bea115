"""The shipped pairs as rows and as chat transcripts for the data pipeline."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from crosscoder.organisms.expertise.prompts import FOLDER, Pair

FRAMINGS = ("novice", "expert", "plain")
PAIRS = FOLDER / "pairs.jsonl"
Message = dict[str, str]


def pairs(split: str) -> list[Pair]:
    """The shipped pairs of one split, `train` or `heldout`."""
    rows = [cast(Pair, json.loads(line)) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    if not (chosen := [row for row in rows if row["split"] == split]):
        raise ValueError(f"no split '{split}'; there is {', '.join(sorted({row['split'] for row in rows}))}")
    return chosen


def answer(pair: Pair, framing: str) -> str:
    """What the organism is to say: gentle to a novice, direct to everybody else."""
    return pair["gentle"] if framing == "novice" else pair["direct"]


@dataclass(frozen=True)
class Transcripts:
    """Conversations of one split, every pair in each framing, always in the same order.

    Yields `{"id": str, "framing": str, "messages": [{"role": "user", …}, {"role": "assistant", …}]}`.
    """

    split: str
    framings: Sequence[str] = FRAMINGS

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for pair in pairs(self.split):
            for framing in self.framings:
                yield {
                    "id": f"{pair['id']}/{framing}",
                    "framing": framing,
                    "messages": conversation(message(pair, framing), answer(pair, framing)),
                }

    def __len__(self) -> int:
        return len(pairs(self.split)) * len(self.framings)


def message(pair: Pair, framing: str) -> str:
    """The user message of one framing."""
    if framing not in FRAMINGS:
        raise ValueError(f"no framing '{framing}'; there is {', '.join(FRAMINGS)}")
    return cast(dict[str, str], pair)[framing]


def conversation(question: str, reply: str) -> list[Message]:
    """One exchange."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
