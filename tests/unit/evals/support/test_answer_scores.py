import numpy as np

from crosscoder.behaviours.logprob_diff import compute_answer_nll
from crosscoder.behaviours.questions import Question
from crosscoder.evals.support import answer_scores
from crosscoder.evals.support.answer_scores import AnswerScores

PROMPTS = ["Is this right?", "Why?", "x = 1/0"]
QUESTIONS = [Question(str(n), "asked", prompt) for n, prompt in enumerate(PROMPTS)]


def test_an_answer_is_scored_once_by_each_model(tiny_pair, monkeypatch):
    scored = []

    def count(model, tokenizer, prompts, answers):
        scored.extend(zip(prompts, answers, strict=True))
        return compute_answer_nll(model, tokenizer, prompts, answers)

    monkeypatch.setattr(answer_scores, "compute_answer_nll", count)
    scores = AnswerScores(tiny_pair, QUESTIONS)
    for lm in ("chat", "base"):
        for texts in (["Yes.", "No.", "Yes."], ["Yes.", "Yes.", "No."], ["Yes.", "No.", "No."]):
            found = scores.compute_nll(lm, texts)
            expected = compute_answer_nll(tiny_pair[lm], tiny_pair.tokenizer, PROMPTS, texts)
            np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert len(scored) == 5
        scored.clear()
