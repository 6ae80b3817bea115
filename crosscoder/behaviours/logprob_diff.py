"""Log-probability difference between behaviour-showing and control answers, without sampling.

    whole answers   log p(begins like yes | prompt) − log Σ_no p(begins like no | prompt)
    options         log p(yes | prompt) − log Σ_no p(no | prompt), whole options

Of a whole answer only the first token counts, or the first few, where its manner is decided: after
a kind beginning, any model continues kindly, and later tokens measure wording.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crosscoder.behaviours.questions import Question
from crosscoder.errors import UserError
from crosscoder.lm.scoring import compute_next_logits, score_answers, tokenize_answer
from crosscoder.lm.types import PreTrainedModel, Tokenizer


def compute_logprob_diffs(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    n_first: int = 1,
) -> np.ndarray:
    """Return one value per question, in nats; several answers of `no` count as one.

    A question without answers has the value NaN.

    Args:
        model: Language model, edited or not.
        tokenizer: Its tokenizer.
        questions: Questions with their answers.
        n_first: Number of tokens of whole answers that count.

    Raises:
        UserError: All answers begin with the same tokens, or `n_first` is below 1.
    """
    if n_first < 1:
        raise UserError(f"n_first is a whole number of tokens from 1, not {n_first}")
    differences = np.full(len(questions), np.nan)
    for is_options, n_tokens in ((False, n_first), (True, None)):
        rows = []
        for i, question in enumerate(questions):
            if question.has_answers and question.options is is_options:
                rows.append(i)
        if not rows:
            continue
        chosen = [questions[i] for i in rows]
        scores = _score_answers(model, tokenizer, chosen, n_tokens)
        differences[rows] = [float(score[0] - score[1:].logsumexp(0)) for score in scores]
    return differences


def compute_answer_nll(
    model: PreTrainedModel, tokenizer: Tokenizer, prompts: Sequence, answers: Sequence[str]
) -> np.ndarray:
    """Return the mean −log p per token of each answer, in nats."""
    log_probs = score_answers(model, tokenizer, prompts, answers)
    return np.array([-float(logs.mean()) for logs in log_probs])


def _score_answers(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    n_tokens: int | None,
) -> Sequence[Tensor]:
    """Return log p of the answers of each question, `yes` first, up to a number per question."""
    answers = [_list_answers(question) for question in questions]
    beginnings = []
    for question, texts in zip(questions, answers, strict=True):
        ids = [tokenize_answer(tokenizer, question.prompt, text)[:n_tokens] for text in texts]
        beginnings.append(ids)
    if all(ids[0] in ids[1:] for ids in beginnings):
        raise UserError(
            f"every answer begins alike, e.g. with {tokenizer.decode(beginnings[0][0])!r}: "
            "compare more tokens, n_first=…"
        )
    prompts = [question.prompt for question in questions]
    if n_tokens == 1:
        return _score_first_tokens(model, tokenizer, prompts, beginnings)
    return _score_texts(model, tokenizer, prompts, answers, n_tokens)


def _score_first_tokens(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence,
    beginnings: Sequence[list[list[int]]],
) -> list[Tensor]:
    """Score the first tokens of all answers in one pass per prompt, up to a number per prompt."""
    width = max(len(answers) for answers in beginnings)
    rows = []
    for answers in beginnings:
        first_tokens = [ids[0] for ids in answers]
        padding = [first_tokens[0]] * (width - len(answers))
        rows.append(first_tokens + padding)
    logits = compute_next_logits(model, tokenizer, prompts, torch.tensor(rows))
    return [scores[: len(answers)] for scores, answers in zip(logits, beginnings, strict=True)]


def _score_texts(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence,
    answers: Sequence[list[str]],
    n_tokens: int | None,
) -> Sequence[Tensor]:
    """Score each answer after its own copy of the prompt."""
    prompt_of_answer = []
    texts = []
    for prompt, answers_of_prompt in zip(prompts, answers, strict=True):
        prompt_of_answer += [prompt] * len(answers_of_prompt)
        texts += answers_of_prompt
    log_probs = score_answers(model, tokenizer, prompt_of_answer, texts, n_tokens)
    sums = torch.stack([logs.sum() for logs in log_probs])
    return torch.split(sums, [len(answers_of_prompt) for answers_of_prompt in answers])


def _list_answers(question: Question) -> list[str]:
    """List the answers as they follow the prompt: `yes`, then each of `no`.

    In a chat, the template renders the space that an option begins with.
    """
    answers = [question.yes, *question.no]
    if isinstance(question.prompt, str):
        return answers
    return [answer.strip() for answer in answers]
