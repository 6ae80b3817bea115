"""Negative log-likelihood of answers under unedited models, each of which is scored once."""

from collections.abc import Sequence

import numpy as np

from crosscoder.behaviours.logprob_diff import compute_answer_nll
from crosscoder.behaviours.questions import Question
from crosscoder.lm import Pair


class AnswerScores:
    """NLL of answers to some questions; many interventions leave many answers as they are.

    Args:
        pair: The language models.
        questions: The questions.
    """

    def __init__(self, pair: Pair, questions: Sequence[Question]) -> None:
        self.pair = pair
        self.prompts = [question.prompt for question in questions]
        self._known: dict[tuple[str, int, str], float] = {}

    def compute_nll(self, model: str, texts: Sequence[str]) -> np.ndarray:
        """Return the NLL of one answer to each question under an unedited model, per token."""
        answers = [(model, number, text) for number, text in enumerate(texts)]
        new = [answer for answer in answers if answer not in self._known]
        if new:
            prompts = [self.prompts[number] for _, number, _ in new]
            new_texts = [text for _, _, text in new]
            nll = compute_answer_nll(self.pair[model], self.pair.tokenizer, prompts, new_texts)
            self._known.update(zip(new, nll.tolist(), strict=True))
        return np.array([self._known[answer] for answer in answers])
