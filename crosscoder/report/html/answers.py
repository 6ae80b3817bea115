"""Answers side by side: the `answers` table of an eval, grouped by question."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crosscoder.evals import Result
from crosscoder.report.terminal.tables import format_figure

NOT_ANSWERS = ("question", "asked as", "id", "topic", "error")  # columns about the question
DOSE = re.compile(r"(?P<model>.+), (?P<dose>[^,]+ × [^,]+)")  # a column of the steering eval
MAX_TITLE = 110  # characters


@dataclass(frozen=True)
class Block:
    """One prompt with its answers.

    Args:
        label: Way of asking, or steered model.
        prompt: Prompt.
        answers: Answers by column.
    """

    label: str
    prompt: str
    answers: dict[str, str]


@dataclass(frozen=True)
class Answers:
    """A list of blocks per question."""

    questions: list[list[Block]]

    def list_titles(self) -> list[str]:
        """Return the beginning of each question."""
        titles = []
        for blocks in self.questions:
            text = " ".join(blocks[0].prompt.split())
            if len(text) > MAX_TITLE:
                text = text[: MAX_TITLE - 1].rstrip() + "…"
            titles.append(text)
        return titles

    def to_json(self) -> list[dict[str, Any]]:
        """Return what answers.js reads."""
        questions = []
        for title, blocks in zip(self.list_titles(), self.questions, strict=True):
            content = [vars(block) | {"answers": list(block.answers.items())} for block in blocks]
            questions.append({"title": title, "blocks": content})
        return questions


def read_answers(result: Result) -> Answers | None:
    """Read the answers of a result; None if it has none that can be shown."""
    questions: dict[str, list[Block]] = {}
    n_seen: Counter[str] = Counter()
    for row in result.tables.get("answers", []):
        if not isinstance(row.get("question"), str):
            continue
        label = f"asked as {format_figure(row['asked as'])}" if "asked as" in row else ""
        # without ids, every way of asking has the same questions in the same order
        key = row.get("id", n_seen[label])
        n_seen[label] += 1
        questions.setdefault(str(key), []).extend(_build_blocks(row, label))
    return Answers(list(questions.values())) if questions else None


def _build_blocks(row: Mapping[str, Any], label: str) -> list[Block]:
    """Build one block, and one for each model whose doses are columns."""
    answers: dict[str, str] = {}
    steered: dict[str, dict[str, str]] = {}
    for column, value in row.items():
        name = str(column)
        if name in NOT_ANSWERS:
            continue
        match = DOSE.fullmatch(name)
        if match:
            steered.setdefault(match["model"], {})[match["dose"]] = format_figure(value)
        else:
            answers[name] = format_figure(value)
    blocks = []
    if answers or not steered:
        blocks.append(Block(label, row["question"], answers))
    for model, doses in steered.items():
        blocks.append(Block(f"{model}, steered", row["question"], doses))
    return blocks
