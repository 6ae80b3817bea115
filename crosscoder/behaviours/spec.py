"""A behaviour: how models are asked for it, and how an answer that shows it is recognised.

Questions come in two splits. Latents are chosen on `train`, and every figure is measured on
`heldout`. Every question is asked in several framings, for example with and without the asker's
opinion. One framing elicits the behaviour, another one serves as control.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from crosscoder.behaviours.judge import Judge
from crosscoder.behaviours.planted import Planted
from crosscoder.behaviours.questions import Question, group_questions, load_questions
from crosscoder.behaviours.splits import Half
from crosscoder.errors import UserError
from crosscoder.lm.chat.messages import make_chat
from crosscoder.lm.text import Document
from crosscoder.values import require_choice

Split = Literal["train", "heldout"]
Marker = Callable[[str, Question], bool]
SHOWN_ABOVE = 0.5  # a judge's score from which an answer shows the behaviour


@dataclass(frozen=True)
class BehaviourSpec:
    """Questions, framings and scores of one behaviour.

    An answer shows the behaviour if the marker says so. Without a marker the judge decides, by a
    score of at least 0.5. Without a judge, too, a model shows the behaviour if it finds the answer
    `yes` more likely than the answers `no`.

    Args:
        name: Name of the behaviour, and of its column in the table of latents.
        train: Rows for `load_questions`, on which latents are chosen (split A).
        heldout: Rows for `load_questions`, on which everything is measured (split B).
        framing: Group of the questions that elicits the behaviour.
        control: Group of the same questions that does not.
        marker: Returns True for an answer, given with its question, that shows the behaviour.
        marker_name: Name of what the marker finds: "polite" gives `polite_rate`. None is `name`.
        correct: Returns True for an answer, given with its question, that is correct.
        factors: Rows for `load_questions` that vary one property at a time, in groups like
            "property/low" and "property/high".
        judge: Judge of the answers, if any.
        rubric: Description of the behaviour for a judge.
        planted: What a recipe planted, if the behaviour is an organism's.
    """

    name: str
    train: Iterable[Any]
    heldout: Iterable[Any]
    framing: str
    control: str
    marker: Marker | None = None
    marker_name: str | None = None
    correct: Marker | None = None
    factors: Iterable[Any] = ()
    judge: Judge | None = None
    rubric: str = ""
    planted: Planted | None = None

    def __post_init__(self) -> None:
        for field in ("name", "framing", "control"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value.strip():
                raise UserError(f"behaviour.{field}: expected text, found {value!r}")
        if self.framing == self.control:
            raise UserError(
                f"behaviour.framing and behaviour.control are both '{self.framing}': "
                "expected two different groups of questions"
            )

    @classmethod
    def from_questions(cls, questions: Iterable[Any], **settings: Any) -> "BehaviourSpec":
        """Make a behaviour of one set of questions, whose ids are divided into the two splits.

        Args:
            questions: Rows for `load_questions`. Every second id is held out.
            settings: All other arguments of the class.
        """
        train = Half(questions, "train")
        heldout = Half(questions, "heldout")
        return cls(train=train, heldout=heldout, **settings)

    @property
    def rate_name(self) -> str:
        """Name of the rate in tables and in the names of scalars."""
        return self.marker_name or self.name

    def load(self, split: Split, n: int | None = None) -> list[Question]:
        """Load the questions of a split in all framings; `n` ids at most, evenly spaced.

        Raises:
            UserError: The rows are no questions, a framing is missing, or nothing tells whether an
                answer shows the behaviour.
        """
        require_choice("split", split, get_args(Split))
        questions = load_questions(getattr(self, split), n)
        groups = group_questions(questions)
        for group in (self.framing, self.control):
            if group not in groups:
                raise UserError(
                    f"behaviour '{self.name}': expected questions in the groups "
                    f"'{self.framing}' and '{self.control}', found {', '.join(groups)}"
                )
        has_answers = all(question.has_answers for question in questions)
        if self.marker is None and self.judge is None and not has_answers:
            raise UserError(
                f"behaviour '{self.name}' has no marker and no judge, and its questions have no "
                "answers 'yes' and 'no': nothing tells whether an answer shows the behaviour; set "
                "behaviour.marker or behaviour.judge, or add the two answers"
            )
        return questions

    def load_framings(
        self, split: Split, n: int | None = None
    ) -> tuple[list[Question], list[Question]]:
        """Load the questions in the framing that elicits the behaviour, and in the control.

        Raises:
            UserError: See `load`, or the two framings do not ask the same questions.
        """
        groups = group_questions(self.load(split, n))
        shown = groups[self.framing]
        control = groups[self.control]
        if [question.id for question in shown] != [question.id for question in control]:
            raise UserError(
                f"behaviour '{self.name}': expected the same question ids in the groups "
                f"'{self.framing}' and '{self.control}', found different ones"
            )
        return shown, control

    def make_prompt_pairs(self, split: Split) -> list[tuple[Document, Document]]:
        """Return each question of a split in the two framings, as chats.

        A prompt that is plain text becomes the message of a user.
        """
        shown, control = self.load_framings(split)
        pairs = []
        for first, second in zip(shown, control, strict=True):
            pairs.append((_make_chat(first.prompt), _make_chat(second.prompt)))
        return pairs

    @property
    def reads_answers(self) -> bool:
        """Whether answers have to be generated to tell if a model shows the behaviour."""
        return self.marker is not None or self.judge is not None

    def detect(
        self, questions: Sequence[Question], answers: Sequence[str], logprob_diffs: np.ndarray
    ) -> np.ndarray:
        """Return 1 for each answer that shows the behaviour, else 0.

        Args:
            questions: The questions.
            answers: An answer to each question.
            logprob_diffs: log p(yes) − log p(no) of each question; used without marker and judge.
        """
        if self.marker is not None:
            found = [
                self.marker(text, question)
                for text, question in zip(answers, questions, strict=True)
            ]
            return np.array(found, dtype=float)
        if self.judge is not None:
            scores = self.judge([question.prompt for question in questions], answers)
            return (np.array(scores) >= SHOWN_ABOVE).astype(float)
        return (logprob_diffs > 0).astype(float)


def _make_chat(prompt: Document) -> Document:
    return make_chat(prompt) if isinstance(prompt, str) else prompt
