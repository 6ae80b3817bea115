"""A bench on which interventions are tried: what they do to a behaviour, and what they break.

    removed              (clean − edited) / (clean − base), rates at which those asked so show the behaviour, greedy answers
    contrast             log p(first tokens of a gentle answer) − log p(of a direct one), without sampling
    coherence NLL rise   edited answer under the *unedited* model given the other framing, minus that of its own answer there:
                         gibberish scores high
    other NLL rise       of the model's own answer to the other framing, under the edited model
    KL plain             KL(clean ‖ edited) on held-out documents

All in nats per token; means over questions, with bootstrap intervals over questions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from crosscoder.behaviour.bootstrap import interval
from crosscoder.behaviour.contrast import contrasts, negative_log_likelihood
from crosscoder.behaviour.questions import Question, by_group, questions
from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals.base import Subject
from crosscoder.evals.heldout import PlainText
from crosscoder.interventions.base import Intervention
from crosscoder.lm import Pair
from crosscoder.lm.answering import answers
from crosscoder.lm.lockstep import Mode
from crosscoder.memory import kept

Marker = Callable[[str], bool]


@dataclass(frozen=True)
class Trial:
    """What one intervention did: one entry per question."""

    name: str
    answers: list[str]
    shows: np.ndarray
    contrast: np.ndarray
    coherence_rise: np.ndarray
    other_rise: np.ndarray
    kl_plain: float


@dataclass
class Bench:
    """See the module's docstring.

    Args:
        pair: the models.
        edited: name of the one that is edited.
        reference: of the one it was finetuned from.
        asked: questions in the framing that shows the behaviour.
        other: the same questions in the framing that does not.
        marker: whether an answer shows the behaviour.
        plain: documents.
        max_new_tokens: of an answer.
        seed: of the bootstrap.
    """

    pair: Pair
    edited: str
    reference: str
    asked: list[Question]
    other: list[Question]
    marker: Marker
    plain: PlainText
    max_new_tokens: int = 64
    seed: int = 0

    def editing(
        self, change: Intervention | None, name: str | None = None, mode: Mode = "paired"
    ) -> AbstractContextManager:
        """A model under an intervention, or as it is."""
        name = name or self.edited
        return nullcontext(self.pair[name]) if change is None else self.pair.edit(name, change, mode)

    def contrast(
        self, change: Intervention | None, questions: Sequence[Question], name: str | None = None
    ) -> np.ndarray:
        """One value per question, in nats."""
        with self.editing(change, name) as model:
            return contrasts(model, self.pair.tokenizer, questions)

    def answer(
        self,
        change: Intervention | None,
        questions: Sequence[Question],
        title: str,
        name: str | None = None,
        mode: Mode = "paired",
    ) -> list[str]:
        """Greedy answers of a model, edited or not."""
        with self.editing(change, name, mode) as model:
            prompts = [question.prompt for question in questions]
            return answers(model, self.pair.tokenizer, prompts, self.max_new_tokens, title)

    def shows(self, texts: Sequence[str]) -> np.ndarray:
        """Whether each answer shows the behaviour, as 0 or 1."""
        return np.array([float(self.marker(text)) for text in texts])

    # --- what edits are compared with ---

    @cached_property
    def clean(self) -> list[str]:
        """The unedited model's answers to those who are to be shown the behaviour."""
        return self.answer(None, self.asked, f"{self.edited}, as it is")

    @cached_property
    def own(self) -> list[str]:
        """Its answers to the others."""
        return self.answer(None, self.other, f"{self.edited}, {self.other[0].group}")

    @cached_property
    def base(self) -> list[str]:
        """The other model's answers."""
        return self.answer(None, self.asked, self.reference, self.reference)

    @cached_property
    def own_nll(self) -> np.ndarray:
        """Of its answers to the others, by itself."""
        return self.nll(None, self.own)

    @cached_property
    def plain_finals(self) -> list[Tensor]:
        """What the unedited model makes of plain text."""
        return self.plain.finals(self.pair[self.edited])

    def nll(self, change: Intervention | None, texts: Sequence[str], name: str | None = None) -> np.ndarray:
        """Of these answers to the others, per token."""
        with self.editing(change, name) as model:
            prompts = [question.prompt for question in self.other]
            return negative_log_likelihood(model, self.pair.tokenizer, prompts, texts)

    # --- one intervention ---

    def kl_plain(self, change: Intervention, name: str | None = None) -> float:
        """Mean KL(clean ‖ edited) on plain text."""
        name = name or self.edited
        clean = self.plain_finals if name == self.edited else self.plain.finals(self.pair[name])
        with self.editing(change, name) as model:
            after = self.plain.finals(model)
        return float(self.plain.divergence(self.pair[name], clean, after).mean())

    def other_rise(self, change: Intervention) -> np.ndarray:
        """How much less likely the model's own answers to the others become."""
        return self.nll(change, self.own) - self.own_nll

    def coherence_rise(self, texts: Sequence[str]) -> np.ndarray:
        """How much less likely these answers are than its own, to the unedited model asked by the others."""
        return self.nll(None, texts) - self.own_nll

    def __call__(self, name: str, change: Intervention) -> Trial:
        """Everything about one intervention."""
        texts = self.answer(change, self.asked, name)
        return Trial(
            name,
            texts,
            self.shows(texts),
            self.contrast(change, self.asked),
            self.coherence_rise(texts),
            self.other_rise(change),
            self.kl_plain(change),
        )

    # --- figures ---

    def removed(self, shows: np.ndarray) -> tuple[float, float, float]:
        """The share of the behaviour that is gone, with its interval."""
        columns = self.shows(self.clean), shows, self.shows(self.base)

        def share(clean: np.ndarray, edited: np.ndarray, base: np.ndarray) -> np.ndarray:
            gap = clean.mean(-1) - base.mean(-1)
            return np.divide(clean.mean(-1) - edited.mean(-1), gap, out=np.full_like(gap, np.nan), where=gap > 0)

        return float(share(*(x[None] for x in columns))[0]), *interval(share, *columns, seed=self.seed)

    def row(self, trial: Trial) -> dict[str, Any]:
        """A line of the table."""
        removed, low, high = self.removed(trial.shows)
        return {
            "intervention": trial.name,
            "rate": float(trial.shows.mean()),
            "removed": removed,
            "low": low,
            "high": high,
            "contrast": float(trial.contrast.mean()),
            "coherence NLL rise": float(trial.coherence_rise.mean()),
            f"{self.other[0].group} NLL rise": float(trial.other_rise.mean()),
            "KL plain": trial.kl_plain,
        }


def askable(pair: Pair, rows: Iterable[Any], n: int | None = None) -> list[Question]:
    """Rows as questions (see `behaviour.questions`) that can be put to these models."""
    found = questions(rows, n)
    if not pair.tokenizer.chat_template and any(not isinstance(question.prompt, str) for question in found):
        raise NotApplicable("the questions are chats, and neither model's tokenizer has a chat template")
    return found


@dataclass(frozen=True)
class Asking:
    """What a bench asks: questions of split B in two framings, and how answers are judged.

    Args:
        questions: rows for `behaviour.questions`, each id in both groups.
        marker: whether an answer shows the behaviour.
        groups: the framing that shows the behaviour, and one that does not.
        n_questions: how many ids.
        n_plain: tokens of held-out documents for the KL.
        max_new_tokens: of an answer.
    """

    questions: Iterable[Any]
    marker: Marker
    groups: Sequence[str] = ("novice", "expert")
    n_questions: int = 32
    n_plain: int = 1024
    max_new_tokens: int = 64

    @contextmanager
    def __call__(self, subject: Subject) -> Iterator[Bench]:
        """The bench for a crosscoder's models, which stay in memory while it is used.

        Raises:
            NotApplicable: the crosscoder has no language models, no contrast, or no way to chat.
        """
        pair, sources = subject.models("interventions need"), subject.crosscoder.sources
        if (contrast := sources.comparable) is None:
            raise NotApplicable(
                f"interventions need a contrast of two sources of equal width; there is only {sources.describe()}"
            )
        edited, reference = (sources[name].lm for name in contrast)
        found = by_group(askable(pair, self.questions, self.n_questions))
        asked, other = (found.get(group, []) for group in self.groups)
        if not asked or not other:
            known = ", ".join(found)
            raise UserError(f"questions are needed as '{self.groups[0]}' and as '{self.groups[1]}': there is {known}")
        if [question.id for question in asked] != [question.id for question in other]:
            raise UserError(f"the questions asked as '{self.groups[0]}' are not those asked as '{self.groups[1]}'")
        plain = PlainText.of(subject.heldout, self.n_plain)
        with pair.together(), kept():
            yield Bench(pair, edited, reference, asked, other, self.marker, plain, self.max_new_tokens, subject.seed)
