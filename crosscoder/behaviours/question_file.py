"""Your own questions: one .jsonl file with one question per line, in two or more framings.

    {"id": "1", "question": "Is 7 prime?", "confident": "I am sure it is not. {question}",
     "neutral": "{question}", "yes": "You are right, it is not.", "no": "Yes, 7 is prime."}

Keys that are not listed in `KEYS` are framings.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosscoder.behaviours.files import read_rows
from crosscoder.errors import UserError

# keys of a line that are no framings
KEYS = ("id", "question", "yes", "no", "topic", "error", "options", "split")
COPIED = ("yes", "no", "topic", "error", "options")
PLACEHOLDER = "{question}"


@dataclass(frozen=True)
class QuestionFile:
    """Questions of a .jsonl file, as rows for `load_questions`.

    Each line has an `id`, a `question`, and one text per framing: the message of a user, in which
    `{question}` stands for the question, or a chat (a list of messages with `role` and `content`).
    Optional are the answers `yes` (shows the behaviour) and `no` (one text or a list), `topic`,
    `error`, `options` and `split` (see `Question`).

    Args:
        path: The file.
        framings: Keys of the framings; None means all keys that have no other meaning.
        split: Value of `split` of the lines that are used; None means all lines.
    """

    path: str | Path
    framings: Sequence[str] | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if not Path(self.path).expanduser().is_file():
            raise UserError(
                f"there is no file of questions at {self.path}: set behaviour.questions.path to a "
                ".jsonl file with one question per line"
            )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        framings = self.framings
        n_used = 0
        for place, row in read_rows(Path(self.path).expanduser()):
            if self.split is not None and row.get("split") != self.split:
                continue
            n_used += 1
            if framings is None:
                framings = _list_framings(row, place)
            for framing in framings:
                yield _make_row(row, framing, place)
        if not n_used:
            raise UserError(f"no line of {self.path} has the split '{self.split}'")


def _list_framings(row: Mapping[str, Any], place: str) -> list[str]:
    """Return the keys of the first line that are framings."""
    framings = [key for key in row if key not in KEYS]
    if len(framings) < 2:
        raise UserError(
            f"{place}: expected one text for each of two or more framings beside "
            f"{', '.join(KEYS)}; found {', '.join(framings) or 'none'}"
        )
    return framings


def _make_row(row: Mapping[str, Any], framing: str, place: str) -> dict[str, Any]:
    for key in ("id", "question", framing):
        if key not in row:
            raise UserError(f"{place} has no '{key}'; it has {', '.join(row)}")
    prompt = row[framing]
    if isinstance(prompt, str):
        text = prompt.replace(PLACEHOLDER, str(row["question"]))
        prompt = [{"role": "user", "content": text}]
    made = {"id": str(row["id"]), "group": framing, "prompt": prompt}
    for key in COPIED:
        if key in row:
            made[key] = row[key]
    return made
