"""Control: how well words alone separate two groups of texts.

Any other way of separating them is to be compared with it. Words and pairs of words, weighted by
TF-IDF, are the inputs of a logistic regression, which is fitted on one set of texts and tested on
another:

    auroc = P(score of a random test text of a > score of one of b)

It is 0.5 by chance and 1 if words separate the groups completely.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosscoder.behaviours.auroc import compute_auroc, compute_aurocs
from crosscoder.errors import UserError

Texts = tuple[Sequence[str], Sequence[str]]
N_RESAMPLES = 1000


@dataclass(frozen=True)
class WordingControl:
    """AUROC on the test texts, and its 95 % interval over resampled test texts.

    The classifier is not fitted again for the resamples.
    """

    auroc: float
    low: float
    high: float


def compute_tfidf_auroc(train: Texts, test: Texts, seed: int = 0) -> WordingControl:
    """Fit a classifier of words on two groups of texts and test it on others.

    Args:
        train: Texts of group a and of group b to fit on.
        test: Texts of group a and of group b to test on; none of them is in `train`.
        seed: Random seed of the resamples.

    Raises:
        UserError: A group is empty, a text is in both sets, or the texts have no words.
    """
    _require_separate_texts(train, test)
    classifier = _fit_classifier(train)
    a = classifier.decision_function(list(test[0]))
    b = classifier.decision_function(list(test[1]))
    rng = np.random.default_rng(seed)
    resampled_a = []
    resampled_b = []
    for _ in range(N_RESAMPLES):
        resampled_a.append(a[rng.integers(len(a), size=len(a))])
        resampled_b.append(b[rng.integers(len(b), size=len(b))])
    scores = np.concatenate([np.stack(resampled_a), np.stack(resampled_b)], axis=1)
    is_a = np.arange(scores.shape[1]) < len(a)
    resamples = compute_aurocs(scores, is_a[None])[0]
    low, high = np.quantile(resamples, [0.025, 0.975])
    return WordingControl(compute_auroc(a, b), float(low), float(high))


def _require_separate_texts(train: Texts, test: Texts) -> None:
    if not all([*train, *test]):
        raise UserError(
            "separating two groups of texts by words needs texts of both, "
            "to train and to test on: one group is empty"
        )
    in_both = {*train[0], *train[1]} & {*test[0], *test[1]}
    if in_both:
        raise UserError(
            f"{len(in_both)} texts are both trained and tested on, e.g. {min(in_both)[:60]!r}: "
            "test on other texts"
        )


def _fit_classifier(train: Texts) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    # the default pattern leaves out "I" and "a"
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
    classifier = make_pipeline(words, LogisticRegression(max_iter=1000))
    labels = [1] * len(train[0]) + [0] * len(train[1])
    try:
        classifier.fit([*train[0], *train[1]], labels)
    except ValueError as error:
        raise UserError(f"the texts have no words to separate them by: {error}") from error
    return classifier
