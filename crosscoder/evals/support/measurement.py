"""Measure an intervention: its effect on a behaviour, and its side effects.

    removed              (clean − edited) / (clean − base): rates of the behaviour in greedy answers
                         to questions that show it
    contrast             log p(first tokens of an answer that shows it) − log p(of one that does
                         not), without sampling
    coherence NLL rise   edited answer under the *unedited* model given the control framing, minus
                         that of its own answer there: gibberish scores high
    control NLL rise     of the model's own answer to the control framing, under the edited model
    KL plain             KL(clean ‖ edited) on held-out documents

All but *removed* are in nats per token. Figures are means over questions, with bootstrap intervals
over questions.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from crosscoder.analysis.spans import PairedReading, list_spans
from crosscoder.behaviours.bootstrap import bootstrap_interval
from crosscoder.behaviours.logprob_diff import compute_answer_nll, compute_logprob_diffs
from crosscoder.behaviours.questions import Question
from crosscoder.behaviours.spec import BehaviourSpec
from crosscoder.core.intervention import Intervention
from crosscoder.evals.support.answer_scores import AnswerScores
from crosscoder.evals.support.heldout import PlainText
from crosscoder.lm import Pair
from crosscoder.lm.answering import BATCH_SIZE, generate_answers, generate_in_blocks
from crosscoder.lm.editing.lockstep import Mode


@dataclass(frozen=True)
class InterventionResult:
    """Measurements of one intervention; arrays have one entry per question.

    Args:
        name: Name of the intervention.
        answers: Greedy answers of the edited model.
        shows: 1 for an answer that shows the behaviour, else 0.
        logprob_diff: Log-probability difference of showing and control answers.
        coherence_rise: NLL of the answers under the unedited model, minus that of its own.
        control_rise: Rise of the NLL of the model's own answers to the control framing.
        kl_plain: Mean KL(clean ‖ edited) on held-out documents.
    """

    name: str
    answers: list[str]
    shows: np.ndarray
    logprob_diff: np.ndarray
    coherence_rise: np.ndarray
    control_rise: np.ndarray
    kl_plain: float


@dataclass
class InterventionBenchmark:
    """Two language models, and questions on which interventions are measured.

    Args:
        pair: The language models.
        edited_model: Name of the model that is edited.
        base_model: Name of the model that it was finetuned from.
        questions: Questions in the framing that shows the behaviour.
        control_questions: The same questions in the framing that does not.
        behaviour: Tells which answers show the behaviour.
        plain: Held-out documents on which the KL is measured; None if it is not measured.
        max_new_tokens: Longest answer.
        seed: Random seed of the bootstrap.
    """

    pair: Pair
    edited_model: str
    base_model: str
    questions: list[Question]
    control_questions: list[Question]
    behaviour: BehaviourSpec
    plain: PlainText | None
    max_new_tokens: int = 64
    seed: int = 0

    @property
    def control_group(self) -> str:
        """Name of the control framing."""
        return self.control_questions[0].group

    @property
    def has_answers(self) -> bool:
        """Whether the questions have answers, whose log probabilities can be compared."""
        return all(one.has_answers for one in [*self.questions, *self.control_questions])

    def list_spans(self, prompts: PairedReading) -> list[dict[str, Any]]:
        """Return what was matched between the prompts on which latents were chosen."""
        described = {self.behaviour.name: prompts.spans.describe()}
        return list_spans(described, (self.behaviour.framing, self.behaviour.control))

    def edit(
        self, change: Intervention | None, model: str | None = None, mode: Mode = "paired"
    ) -> AbstractContextManager:
        """Return a context with a model under an intervention; None leaves the model as it is."""
        model = model or self.edited_model
        if change is None:
            return nullcontext(self.pair[model])
        return self.pair.edit(model, change, mode)

    def logprob_diff(
        self,
        change: Intervention | None,
        questions: Sequence[Question],
        model: str | None = None,
        mode: Mode = "paired",
    ) -> np.ndarray:
        """Return the log-probability difference for each question, in nats."""
        with self.edit(change, model, mode) as edited:
            return compute_logprob_diffs(edited, self.pair.tokenizer, questions)

    def generate_answers(
        self,
        change: Intervention | None,
        questions: Sequence[Question],
        title: str,
        model: str | None = None,
        mode: Mode = "paired",
    ) -> list[str]:
        """Generate greedy answers of a model, edited or not; `title` names the progress bar."""
        prompts = [question.prompt for question in questions]
        with self.edit(change, model, mode) as edited:
            return generate_answers(
                edited, self.pair.tokenizer, prompts, self.max_new_tokens, title
            )

    def generate_for_all(
        self,
        changes: Sequence[Intervention],
        questions: Sequence[Question],
        title: str,
        model: str | None = None,
    ) -> list[list[str]]:
        """Generate greedy answers of a model under each intervention.

        Several interventions decode together, because every step reads all weights.
        """
        prompts = [question.prompt for question in questions]
        n_together = max(1, BATCH_SIZE // max(1, len(prompts)))
        answers = []
        for start in range(0, len(changes), n_together):
            group = changes[start : start + n_together]
            with self.pair.edit(model or self.edited_model, group) as edited:
                answers += generate_in_blocks(
                    edited, self.pair.tokenizer, prompts, len(group), self.max_new_tokens, title
                )
        return answers

    def detect_behaviour(
        self,
        change: Intervention | None,
        questions: Sequence[Question],
        texts: Sequence[str],
        model: str | None = None,
        mode: Mode = "paired",
    ) -> np.ndarray:
        """Return 1 for each question whose answer shows the behaviour, else 0.

        Args:
            change: The intervention under which the answers were generated, if any.
            questions: The questions.
            texts: The answers.
            model: Model that was edited.
            mode: Mode of its code.
        """
        if self.behaviour.reads_answers:
            differences = np.full(len(questions), np.nan)
        else:
            differences = self.logprob_diff(change, questions, model, mode)
        return self.behaviour.detect(questions, texts, differences)

    # --- the unedited models ---

    @cached_property
    def clean_answers(self) -> list[str]:
        """Answers of the unedited model to the questions that show the behaviour."""
        return self.generate_answers(None, self.questions, f"{self.edited_model}, as it is")

    @cached_property
    def control_answers(self) -> list[str]:
        """Answers of the unedited model to the control questions."""
        title = f"{self.edited_model}, {self.control_group}"
        return self.generate_answers(None, self.control_questions, title)

    @cached_property
    def base_answers(self) -> list[str]:
        """Answers of the base model to the questions that show the behaviour."""
        return self.generate_answers(None, self.questions, self.base_model, self.base_model)

    @cached_property
    def clean_shows(self) -> np.ndarray:
        """1 for each question to which the unedited model shows the behaviour."""
        return self.detect_behaviour(None, self.questions, self.clean_answers)

    @cached_property
    def base_shows(self) -> np.ndarray:
        """1 for each question to which the base model shows the behaviour."""
        return self.detect_behaviour(None, self.questions, self.base_answers, self.base_model)

    @cached_property
    def control_nll(self) -> np.ndarray:
        """NLL of the unedited model's own answers to the control questions."""
        return self.answer_scores.compute_nll(self.edited_model, self.control_answers)

    @cached_property
    def clean_plain_states(self) -> list[Tensor]:
        """Final hidden states of the unedited model on plain text."""
        assert self.plain is not None
        return self.plain.final_states(self.pair[self.edited_model])

    @cached_property
    def answer_scores(self) -> AnswerScores:
        """NLL of answers to the control questions under the unedited models."""
        return AnswerScores(self.pair, self.control_questions)

    # --- interventions ---

    def measure_plain_kls(
        self, changes: Sequence[Intervention], model: str | None = None
    ) -> list[float]:
        """Return the mean KL(clean ‖ edited) on plain text for each intervention."""
        assert self.plain is not None
        model = model or self.edited_model
        if model == self.edited_model:
            clean = self.clean_plain_states
        else:
            clean = self.plain.final_states(self.pair[model])
        edited = []
        for change in changes:
            with self.edit(change, model) as edited_model:
                edited.append(self.plain.final_states(edited_model))
        return self.plain.measure_kls(self.pair[model], clean, edited).mean(1).tolist()

    def measure_control_rise(self, change: Intervention) -> np.ndarray:
        """Return how much the NLL of the model's own answers to the control questions rises."""
        prompts = [question.prompt for question in self.control_questions]
        with self.edit(change) as edited:
            nll = compute_answer_nll(edited, self.pair.tokenizer, prompts, self.control_answers)
        return nll - self.control_nll

    def measure_coherence_rise(self, texts: Sequence[str]) -> np.ndarray:
        """Return the NLL of answers under the unedited model, minus that of its own answers.

        Both are scored as answers to the control questions.
        """
        return self.answer_scores.compute_nll(self.edited_model, texts) - self.control_nll

    def evaluate(self, changes: Mapping[str, Intervention]) -> dict[str, InterventionResult]:
        """Measure everything about some interventions, by name."""
        several = list(changes.values())
        answers = self.generate_for_all(several, self.questions, "edited answers")
        kls = self.measure_plain_kls(several)
        results = {}
        for (name, change), texts, kl in zip(changes.items(), answers, kls, strict=True):
            results[name] = InterventionResult(
                name=name,
                answers=texts,
                shows=self.detect_behaviour(change, self.questions, texts),
                logprob_diff=self.logprob_diff(change, self.questions),
                coherence_rise=self.measure_coherence_rise(texts),
                control_rise=self.measure_control_rise(change),
                kl_plain=kl,
            )
        return results

    # --- figures ---

    def removed_fraction(self, shows: np.ndarray) -> tuple[float, float, float]:
        """Return the fraction of the behaviour that an intervention removes, and its interval.

        It is NaN if the clean model shows the behaviour no more often than the base model.
        """
        clean = self.clean_shows
        base = self.base_shows
        removed = float(_removed_fraction(clean, shows, base))
        low, high = bootstrap_interval(_removed_fraction, clean, shows, base, seed=self.seed)
        return removed, low, high

    def make_row(self, result: InterventionResult) -> dict[str, Any]:
        """Return the row of the table of interventions."""
        removed, low, high = self.removed_fraction(result.shows)
        row = {
            "intervention": result.name,
            "rate": float(result.shows.mean()),
            "removed": removed,
            "low": low,
            "high": high,
            "contrast": float(result.logprob_diff.mean()),
            "coherence NLL rise": float(result.coherence_rise.mean()),
            f"{self.control_group} NLL rise": float(result.control_rise.mean()),
            "KL plain": result.kl_plain,
        }
        if not self.has_answers:
            del row["contrast"]
        return row


def _removed_fraction(clean: np.ndarray, edited: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return (clean − edited) / (clean − base) of the means over the last axis, [...]."""
    gap = np.asarray(clean.mean(-1) - base.mean(-1))
    removed = clean.mean(-1) - edited.mean(-1)
    return np.divide(removed, gap, out=np.full_like(gap, np.nan), where=gap > 0)
