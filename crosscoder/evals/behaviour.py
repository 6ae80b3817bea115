"""Answers of each model in different framings, to see if there is a difference to explain.

Both models answer the very same prompts, turn markers included, greedily. Answers are scored by a
marker on their words, by the log-probability difference of an answer that shows the behaviour and
one that does not, and by a judge, if there is one. Framings mix up who asks, who vouches and how it
is worded: factors separate these, and a TF-IDF classifier says how much the words alone tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosscoder.behaviours.auroc import compute_auroc
from crosscoder.behaviours.bootstrap import bootstrap_mean
from crosscoder.behaviours.logprob_diff import compute_logprob_diffs
from crosscoder.behaviours.questions import (
    Question,
    get_prompt_text,
    group_questions,
    load_questions,
    tabulate_answers,
)
from crosscoder.behaviours.spec import BehaviourSpec
from crosscoder.behaviours.wording import compute_tfidf_auroc
from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.benchmark import require_chat_template
from crosscoder.lm import Pair
from crosscoder.lm.answering import generate_answers
from crosscoder.lm.text import Document
from crosscoder.values import require_types

Groups = dict[str, list[Question]]
Row = dict[str, Any]


@dataclass(frozen=True)
class BehaviourEval:
    """Rates of a behaviour by model and framing.

    Scalars: `<rate>/<model>/<group>` and `contrast/<model>/<group>`. Tables: rates, factors,
    wording and answers. There is no contrast if the questions have no answers.

    Args:
        n_questions: Number of ids of held-out questions.
        n_factors: Number of ids of the factors, which are scored by log-probability difference.
        max_new_tokens: Longest answer, in tokens.
    """

    n_questions: int = 32
    n_factors: int = 24
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        require_types("eval.behaviour", self)

    def needs_models(self, context: EvalContext) -> bool:
        """Return True: the models answer questions."""
        return True

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the models of the crosscoder."""
        pair = context.pair
        if pair is None:
            raise NotApplicable(
                "behaviour needs the language models, but this crosscoder was trained without any"
            )
        behaviour = context.require_behaviour("the eval")
        questions = behaviour.load("heldout", self.n_questions)
        require_chat_template(pair, questions)
        groups = group_questions(questions)
        levels: Groups = {}
        if behaviour.factors:
            levels = group_questions(load_questions(behaviour.factors, self.n_factors))
        models = list(dict.fromkeys(source.lm for source in context.crosscoder.sources))
        rates: list[Row] = []
        factors: list[Row] = []
        replies: dict[str, dict[str, list[str]]] = {}
        differences: dict[str, dict[str, np.ndarray]] = {}
        for model in models:  # one after the other: each is loaded once
            replies[model] = self._answer(pair, model, groups)
            differences[model] = _compute_differences(pair, model, groups | levels)
            for group, members in groups.items():
                row: Row = {"model": model, "asked as": group}
                values = differences[model][group]
                row |= _score_answers(
                    behaviour, members, replies[model][group], values, context.seed
                )
                if np.isfinite(values).all():
                    row |= _summarise_difference(values, context.seed)
                rates.append(row)
            for level in levels:
                factors.append(
                    _make_level_row(model, level, differences[model][level], context.seed)
                )
        tables = {
            "rates": rates,
            "factors": factors,
            "words": _compare_words(behaviour, groups, levels, differences, context.seed),
            "answers": _list_answers(groups, replies),
        }
        meta = {
            "n_questions": len(next(iter(groups.values()))),
            "behaviour": behaviour.rate_name,
        }
        not_empty = {name: rows for name, rows in tables.items() if rows}
        scalars = _make_scalars(f"{behaviour.rate_name} rate", rates)
        return Result("behaviour", scalars, not_empty, meta)

    def _answer(self, pair: Pair, model: str, groups: Groups) -> dict[str, list[str]]:
        """Return a model's greedy answers by group."""
        prompts: list[Document] = []
        for members in groups.values():
            prompts += [question.prompt for question in members]
        texts = generate_answers(pair[model], pair.tokenizer, prompts, self.max_new_tokens, model)
        return split_like(texts, groups)


def _make_scalars(rate: str, rates: list[Row]) -> dict[str, float]:
    scalars = {}
    for column in (rate, "contrast"):
        key = column.replace(" ", "_")
        for row in rates:
            if column in row:
                scalars[f"{key}/{row['model']}/{row['asked as']}"] = row[column]
    return scalars


def _score_answers(
    behaviour: BehaviourSpec,
    members: list[Question],
    texts: list[str],
    differences: np.ndarray,
    seed: int,
) -> Row:
    """Return the rate of the behaviour in answers, and what else they are scored by."""
    shows = behaviour.detect(members, texts, differences)
    rate, low, high = bootstrap_mean(shows, seed)
    row: Row = {f"{behaviour.rate_name} rate": rate, "low": low, "high": high}
    if behaviour.correct and all(question.error for question in members):
        is_correct = [
            behaviour.correct(text, question) for text, question in zip(texts, members, strict=True)
        ]
        row["names the error"] = float(np.mean(is_correct))
    if behaviour.judge and behaviour.marker:  # without a marker, the rate is the judge's
        prompts = [question.prompt for question in members]
        row["judged"] = float(np.mean(behaviour.judge(prompts, texts)))
    return row


def _compare_words(
    behaviour: BehaviourSpec,
    groups: Groups,
    levels: Groups,
    differences: dict[str, dict[str, np.ndarray]],
    seed: int,
) -> list[Row]:
    """Return how well two groups are separated, by words and by each model's answers.

    The classifier is fitted on the training questions. Models are measured by their log-probability
    differences. Training questions whose text is tested, too, are left out.
    """
    first = behaviour.framing
    second = behaviour.control
    everything = groups | levels
    tested = set()
    for members in everything.values():
        tested.update(get_prompt_text(question) for question in members)
    fitted = group_questions(
        question for question in behaviour.load("train") if get_prompt_text(question) not in tested
    )
    if first not in fitted or second not in fitted:
        return []
    train = (_list_texts(fitted, first), _list_texts(fitted, second))
    rows = []
    for one, other in [(first, second), *_list_opposites(levels)]:
        test = (_list_texts(everything, one), _list_texts(everything, other))
        control = compute_tfidf_auroc(train, test, seed)
        row: Row = {
            "told apart": f"{one} from {other}",
            "TF-IDF": control.auroc,
            "low": control.low,
            "high": control.high,
        }
        for model, by_framing in differences.items():
            if np.isfinite(by_framing[one]).all():
                row[model] = compute_auroc(by_framing[one], by_framing[other])
        rows.append(row)
    return rows


def split_like(flat: Sequence[str], groups: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    """Split a list into groups of the same names and sizes as others."""
    split = {}
    start = 0
    for name, members in groups.items():
        split[name] = list(flat[start : start + len(members)])
        start += len(members)
    return split


def _compute_differences(pair: Pair, model: str, groups: Groups) -> dict[str, np.ndarray]:
    """Return a model's log-probability differences by group, one per question."""
    differences = {}
    for group, members in groups.items():
        differences[group] = compute_logprob_diffs(pair[model], pair.tokenizer, members)
    return differences


def _summarise_difference(values: np.ndarray, seed: int) -> Row:
    average, low, high = bootstrap_mean(values, seed)
    return {"contrast": average, "contrast low": low, "contrast high": high}


def _make_level_row(model: str, level: str, values: np.ndarray, seed: int) -> Row:
    average, low, high = bootstrap_mean(values, seed)
    return {"model": model, "level": level, "contrast": average, "low": low, "high": high}


def _list_answers(groups: Groups, replies: dict[str, dict[str, list[str]]]) -> list[Row]:
    """Return all models' answers side by side."""
    rows = []
    for group, members in groups.items():
        columns = {model: by_framing[group] for model, by_framing in replies.items()}
        for row in tabulate_answers(members, columns):
            rows.append({"asked as": group, **row})
    return rows


def _list_texts(groups: Groups, group: str) -> list[str]:
    if group not in groups:
        raise UserError(f"expected questions in the group '{group}', found {', '.join(groups)}")
    return [get_prompt_text(question) for question in groups[group]]


def _list_opposites(levels: Groups) -> list[tuple[str, str]]:
    """Return pairs of levels that differ in low and high alone."""
    pairs = []
    for level in levels:
        high = level.replace("low", "high")
        if "low" in level.split("/") and high in levels:
            pairs.append((level, high))
    return pairs
