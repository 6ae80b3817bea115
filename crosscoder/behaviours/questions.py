"""Questions that elicit a behaviour: a prompt, one answer that shows it, others that do not.

The same id occurs once in each group (a framing of the question), so that groups can be compared
pair by pair.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from crosscoder.core.sampling import take_evenly
from crosscoder.errors import UserError
from crosscoder.lm.text import Document

# ends the id of a question that is asked again with its options in another order
SWAPPED = "/swapped"


@dataclass(frozen=True)
class Question:
    """One question to a model.

    Args:
        id: Identifier of what is asked, the same in every group.
        group: Manner in which it is asked.
        prompt: Text that the model continues, or a chat (a list of role/content messages) that it
            answers.
        yes: An answer that shows the behaviour; empty if none is given.
        no: One or more answers that do not; empty if `yes` is.
        topic: Topic, for splits and tables.
        error: A word that a correct answer names; empty if there is none.
        options: True if the answers are options, e.g. " (A)", whose probabilities are normalised
            over `yes` and all of `no`; otherwise they are whole answers.
    """

    id: str
    group: str
    prompt: Document
    yes: str = ""
    no: tuple[str, ...] = ()
    topic: str = ""
    error: str = ""
    options: bool = False

    @property
    def has_answers(self) -> bool:
        """Whether there is an answer that shows the behaviour, and one that does not."""
        return bool(self.yes and self.no)


QUESTION_KEYS = [field.name for field in fields(Question)]
REQUIRED_KEYS = [field.name for field in fields(Question) if field.default is MISSING]
MAY_BE_EMPTY = ("topic", "error")


def load_questions(rows: Iterable[Any], n: int | None = None) -> list[Question]:
    """Return rows as questions, in their order.

    Args:
        rows: Questions, or mappings with the keys of `Question`, where `no` may be one string. At
            least one; each pair of id and group occurs once.
        n: Number of ids to choose, evenly spaced. All groups of an id are kept, and its swapped
            version, so that pairs remain pairs. None means all.

    Raises:
        UserError: There are no rows, or one of them is not a question.
    """
    questions = [_parse_question(row, number) for number, row in enumerate(rows, 1)]
    if not questions:
        raise UserError("there are no questions: expected at least one row")
    first_numbers: dict[tuple[str, str], int] = {}
    for number, question in enumerate(questions, 1):
        first = first_numbers.setdefault((question.id, question.group), number)
        if first != number:
            raise UserError(
                f"questions {first} and {number} both have id '{question.id}' "
                f"in group '{question.group}'"
            )
    return questions if n is None else _choose_evenly(questions, n)


def get_prompt_text(question: Question) -> str:
    """Return the text of a prompt; the messages of a chat are joined by line breaks."""
    if isinstance(question.prompt, str):
        return question.prompt
    return "\n".join(message["content"] for message in question.prompt)


def group_questions(questions: Iterable[Question]) -> dict[str, list[Question]]:
    """Return the questions of each group, in their order."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.group, []).append(question)
    return groups


def tabulate_answers(
    questions: Sequence[Question], answers: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Return one row per question: its text, and each column's answer to it."""
    rows = []
    for i, question in enumerate(questions):
        row = {"question": get_prompt_text(question)}
        for name, texts in answers.items():
            row[name] = texts[i]
        rows.append(row)
    return rows


def _choose_evenly(questions: list[Question], n: int) -> list[Question]:
    if n < 1:
        raise UserError(f"n is a whole number of questions from 1, or none for all, not {n}")
    ids = list(dict.fromkeys(question.id.removesuffix(SWAPPED) for question in questions))
    chosen = set(take_evenly(ids, n))
    return [question for question in questions if question.id.removesuffix(SWAPPED) in chosen]


def _parse_question(row: Any, number: int) -> Question:
    if isinstance(row, Question):
        row = vars(row)
    _require_keys(row, number)
    values = dict(row)
    if values.get("yes") or values.get("no"):
        _parse_answers(values, number)
    else:
        values |= {"yes": "", "no": ()}
    _require_texts(values, number)
    if not isinstance(values.get("options", False), bool):
        raise UserError(f"question {number}: 'options' is true or false, not {values['options']!r}")
    if not _is_document(values["prompt"]):
        raise UserError(
            f"question {number}: 'prompt' is text, or a list of messages with 'role' and 'content'"
        )
    return Question(**values)


def _parse_answers(values: dict[str, Any], number: int) -> None:
    """Check the two kinds of answers, and make a tuple of `no`."""
    for name in ("yes", "no"):
        if not values.get(name):
            raise UserError(
                f"question {number} has no '{name}': expected both 'yes' and 'no', or neither"
            )
    no = values["no"]
    if isinstance(no, str):
        no = (no,)
    if not isinstance(no, list | tuple):
        raise UserError(f"question {number}: 'no' is one answer or a list of at least one")
    values["no"] = tuple(no)
    texts = [("yes", values["yes"])]
    texts += [("no", text) for text in values["no"]]
    for name, text in texts:
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"question {number}: '{name}' is text, not {text!r}")
    if values["yes"] in values["no"]:
        raise UserError(f"question {number}: the answer {values['yes']!r} is both 'yes' and 'no'")


def _require_keys(row: Any, number: int) -> None:
    if not isinstance(row, Mapping):
        raise UserError(
            f"question {number} is no Question and no mapping with its keys, "
            f"but {type(row).__name__}"
        )
    for name in REQUIRED_KEYS:
        if name not in row:
            found = ", ".join(map(str, row)) or "nothing"
            raise UserError(f"question {number} has no '{name}'; it has {found}")
    for name in row:
        if name not in QUESTION_KEYS:
            raise UserError(
                f"question {number} has an unknown key '{name}'; known are "
                f"{', '.join(QUESTION_KEYS)}"
            )


def _require_texts(values: Mapping[str, Any], number: int) -> None:
    for name in ("id", "group", "topic", "error"):
        if name not in values:
            continue
        text = values[name]
        is_text = isinstance(text, str) and (text.strip() or name in MAY_BE_EMPTY)
        if not is_text:
            raise UserError(f"question {number}: '{name}' is text, not {text!r}")


def _is_document(prompt: Any) -> bool:
    if isinstance(prompt, str):
        return bool(prompt.strip())
    if not isinstance(prompt, list | tuple) or not prompt:
        return False
    return all(_is_message(message) for message in prompt)


def _is_message(message: Any) -> bool:
    if not isinstance(message, Mapping):
        return False
    return isinstance(message.get("role"), str) and isinstance(message.get("content"), str)
