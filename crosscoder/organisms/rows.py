"""The shipped examples of an organism: as questions, and as documents for the data pipeline.

`examples.jsonl` has one row per question and framing:

    {"id", "split", "topic", "group", "prompt", "answer"}

The group is the framing. The prompt is a chat, or a text that the model continues. The answer of
the first group of an id shows the behaviour, the answers of the others do not.
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from crosscoder.errors import UserError
from crosscoder.organisms.organism import FOLDER

Row = dict[str, Any]
Document = str | list[dict[str, str]]
"""A text, or a chat; crosscoder.lm has the same type, but importing it imports torch."""


@lru_cache
def load_rows(organism: str, split: str) -> tuple[Row, ...]:
    """Return the rows of one split, `train` or `heldout`.

    Raises:
        UserError: There is no such split, or no such organism.
    """
    path = FOLDER / organism / "examples.jsonl"
    if not path.is_file():
        names = sorted(found.parent.name for found in FOLDER.glob("*/examples.jsonl"))
        raise UserError(f"no examples of '{organism}'; there are those of {', '.join(names)}")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    chosen = tuple(row for row in rows if row["split"] == split)
    if not chosen:
        splits = sorted({row["split"] for row in rows})
        raise UserError(f"no split '{split}'; there is {', '.join(splits)}")
    return chosen


def group_by_id(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of each question, one per framing, in their order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["id"], []).append(row)
    return groups


def format_rows(rows: Iterable[Row]) -> str:
    """Return one JSON object per line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_chat(text: str) -> list[dict[str, str]]:
    """Return a text as the message of a user."""
    return [{"role": "user", "content": text}]


def join_answer(prompt: Document, answer: str) -> Document:
    """Return a prompt and its answer as one document."""
    if isinstance(prompt, str):
        return prompt + answer
    return [*prompt, {"role": "assistant", "content": answer}]


@dataclass(frozen=True)
class Asked:
    """Every question of one split in each framing, as rows for `load_questions`.

    Args:
        organism: Name of the organism.
        split: "train" or "heldout".
    """

    organism: str
    split: str = "heldout"

    def __post_init__(self) -> None:
        load_rows(self.organism, self.split)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for rows in group_by_id(load_rows(self.organism, self.split)).values():
            shown = rows[0]["answer"]
            others = [row["answer"] for row in rows[1:]]
            for row in rows:
                yield {
                    "id": row["id"],
                    "group": row["group"],
                    "prompt": row["prompt"],
                    "yes": shown,
                    "no": list(dict.fromkeys(others)),
                    "topic": row["topic"],
                }

    def __len__(self) -> int:
        return len(load_rows(self.organism, self.split))


@dataclass(frozen=True)
class Conversations:
    """Documents of several questions with their answers, the same on every machine.

    Yields `{"messages": chat or text}`. A document has either chats or texts, in all framings.
    There are more documents than questions: a crosscoder needs more tokens than a finetuning.

    Args:
        organism: Name of the organism.
        split: "train" or "heldout".
        n: Number of documents.
        turns: Number of questions in each of them.
    """

    organism: str
    split: str
    n: int = 2000
    turns: int = 4

    def __post_init__(self) -> None:
        load_rows(self.organism, self.split)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rng = random.Random(f"{self.organism} {self.split}")
        kinds: dict[bool, list[Row]] = {}
        for row in load_rows(self.organism, self.split):
            kinds.setdefault(isinstance(row["prompt"], str), []).append(row)
        for number in range(self.n):
            rows = list(kinds.values())[number % len(kinds)]
            yield {"messages": join_rows(rng.sample(rows, self.turns))}

    def __len__(self) -> int:
        return self.n


def join_rows(rows: Sequence[Row]) -> Document:
    """Return prompts with their answers as one text, or as one chat of several turns."""
    documents = [join_answer(row["prompt"], row["answer"]) for row in rows]
    if isinstance(documents[0], str):
        return "\n\n".join(documents)
    chat = []
    for document in documents:
        chat += document
    return chat
