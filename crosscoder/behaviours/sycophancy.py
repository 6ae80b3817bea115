"""Published questions on sycophancy, as rows for `load_questions`.

The questions of Perez et al. 2022 are here, those of Sharma et al. 2023 in sycophancy_eval.py. None
are shipped; the published files are recognised by their sha256.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosscoder.behaviours import files
from crosscoder.behaviours.files import require_value
from crosscoder.behaviours.questions import SWAPPED
from crosscoder.behaviours.sycophancy_eval import SycophancyEval
from crosscoder.errors import UserError

__all__ = ["ModelWritten", "SycophancyEval"]

# github.com/anthropics/evals at 84fcc677, git blobs 480ff822, 55252106, 52f57e31
MODEL_WRITTEN = {
    "sycophancy_on_nlp_survey": (
        "582860b42e2beec806a7d361a08bcce7fdb264e2e697d55104074540352fb308"
    ),
    "sycophancy_on_philpapers2020": (
        "2f112b35334fbec0b16dc755df60349fb2b2bf00d4dbaae47175519bee7d37dd"
    ),
    "sycophancy_on_political_typology_quiz": (
        "691575571f659593ed237aa74ec6530b20ef3a5d0116e5e1f4f189ef530cf032"
    ),
}
PREFIX = "sycophancy_on_"
OPTION = re.compile(r"\n \(([A-Z])\) ")
FIRST_OPTION = "\n (A) "
END = "\n\nAnswer:"


@dataclass(frozen=True)
class ModelWritten:
    """Anthropic's model-written questions of people who state their view (Perez et al. 2022).

    `yes` repeats that view; `no` are the one or more answers that the row lists as not matching.
    The prompt is the authors' plain text, so it measures a model's next token, not an answer in its
    chat template. Models prefer letters. Therefore each question is asked a second time with the
    options' texts moved by one letter (two options are exchanged) and the answers' letters with
    them; its id ends in "/swapped". Groups are the files, e.g. "nlp_survey"; topic is the asker's
    party in the political one.

    The hub's Anthropic/model-written-evals has the NLP survey under the name of philpapers2020,
    too, which is refused: take the files of github.com/anthropics/evals, or leave out that file by
    `sets`.

    Args:
        path: One .jsonl file, a folder of them, or a hub id.
        sets: Names of the files to use; None means all that exist.
    """

    path: str | Path
    sets: Sequence[str] | None = None

    def known(self) -> dict[str, bool]:
        """Return by group whether its file is the published one."""
        verified = files.verify_files(self._find_files(), MODEL_WRITTEN)
        return {_get_group(stem): is_published for stem, is_published in verified.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        found = self._find_files()
        files.verify_files(found, MODEL_WRITTEN)
        for stem, file in found.items():
            group = _get_group(stem)
            for number, (place, row) in enumerate(files.read_rows(file), 1):
                question = _parse_question(row, place, is_political="political" in stem)
                for suffix, shift in (("", 0), (SWAPPED, 1)):
                    yield {
                        "id": f"{group}/{number}{suffix}",
                        "group": group,
                        **question.ask(shift),
                    }

    def _find_files(self) -> dict[str, Path]:
        names = list(MODEL_WRITTEN)
        if self.sets is not None:
            names = [PREFIX + name.removeprefix(PREFIX) for name in self.sets]
        for name in names:
            if name not in MODEL_WRITTEN:
                known = ", ".join(map(_get_group, MODEL_WRITTEN))
                raise UserError(f"no set '{_get_group(name)}'; there is {known}")
        return files.find_files(self.path, names)


@dataclass(frozen=True)
class _Question:
    """A published question.

    Args:
        head: Text before the options.
        options: Texts of the options.
        answers: Numbers of the options that are answers: the matching one, then the others.
        lead: Name of the right answer in the words of the question, e.g. "best answer".
        topic: Party of the asker, if it is given.
    """

    head: str
    options: Sequence[str]
    answers: Sequence[int]
    lead: str
    topic: str

    def ask(self, shift: int) -> dict[str, Any]:
        """Return the question with the texts of its options moved by some letters."""
        n = len(self.options)
        lines = []
        for i in range(n):
            lines.append(f"\n ({_get_letter(i)}) {self.options[(i + shift) % n]}")
        letters = [f" ({_get_letter((answer - shift) % n)})" for answer in self.answers]
        question = f"{self.head}{''.join(lines)}{END}"
        return {
            "prompt": f"\n\nHuman: {question}\n\nAssistant: I believe the {self.lead} is",
            "yes": letters[0],
            "no": tuple(letters[1:]),
            "topic": self.topic,
            "options": True,
        }


def _parse_question(row: Mapping[str, Any], place: str, is_political: bool) -> _Question:
    head, options = _split_options(require_value(row, "question", place), place)
    not_matching = require_value(row, "answer_not_matching_behavior", place, (str, list))
    if isinstance(not_matching, str):
        not_matching = [not_matching]
    matching = require_value(row, "answer_matching_behavior", place)
    answers = [_find_option(answer, options, place) for answer in [matching, *not_matching]]
    if answers[0] in answers[1:]:
        raise UserError(
            f"{place}: the answer ({_get_letter(answers[0])}) is both matching and not matching"
        )
    lead = "better option" if is_political else "best answer"
    return _Question(head, options, answers, lead, topic=str(row.get("user_affiliation", "")))


def _get_group(stem: str) -> str:
    return stem.removeprefix(PREFIX)


def _get_letter(number: int) -> str:
    return chr(ord("A") + number)


def _split_options(question: str, place: str) -> tuple[str, list[str]]:
    """Return the text before the options, and their texts.

    The political and the philosophical file have no "Choices:" line.
    """
    end = END.strip()
    first = question.rfind(FIRST_OPTION)
    if first < 0 or not question.rstrip().endswith(end):
        raise UserError(
            f"{place}: the question does not end with options ' (A) …' on lines of their own "
            "and 'Answer:'"
        )
    _, *pieces = OPTION.split(question[first : question.rindex(end)].rstrip())
    letters = pieces[::2]
    texts = pieces[1::2]
    if len(letters) < 2 or letters != [_get_letter(i) for i in range(len(letters))]:
        raise UserError(f"{place}: the options are {', '.join(letters)}, not A, B and so on")
    return question[:first], texts


def _find_option(answer: Any, options: Sequence[str], place: str) -> int:
    """Return the number of the option that an answer like " (B)" names."""
    choices = [f" ({_get_letter(i)})" for i in range(len(options))]
    if answer not in choices:
        raise UserError(
            f"{place}: the answer {answer!r} is not among the choices "
            f"{', '.join(map(repr, choices))}"
        )
    return choices.index(answer)
