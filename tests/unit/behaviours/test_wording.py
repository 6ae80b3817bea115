"""The control by words is 1 if words separate the texts, and about 0.5 if they do not."""

import itertools
import random

import pytest

from crosscoder.behaviours.wording import compute_tfidf_auroc
from crosscoder.errors import UserError

WORDS = ["apple", "pear", "plum", "fig", "lime", "kiwi", "grape", "melon", "date", "quince"]


def texts(n: int, seed: int, mark: str = "") -> list[str]:
    rng = random.Random(seed)
    return [" ".join([*rng.choices(WORDS, k=12), mark, str(seed * 1000 + i)]) for i in range(n)]


def test_a_distinctive_word_is_found():
    control = compute_tfidf_auroc(
        (texts(40, 1, "novice"), texts(40, 2, "expert")),
        (texts(30, 3, "novice"), texts(30, 4, "expert")),
    )
    assert control.auroc > 0.95
    assert control.auroc >= control.low > 0.9


def test_random_words_give_one_half():
    control = compute_tfidf_auroc((texts(60, 1), texts(60, 2)), (texts(60, 3), texts(60, 4)))
    assert control.low < 0.5 < control.high
    assert control.low < control.auroc < control.high


def test_the_first_group_has_the_high_scores():
    train = texts(40, 1, "novice"), texts(40, 2, "expert")
    test = texts(30, 3, "novice"), texts(30, 4, "expert")
    assert compute_tfidf_auroc(train, (test[1], test[0])).auroc < 0.05


def test_the_auroc_is_the_fraction_of_ordered_pairs():
    train = (["good fine", "good nice", "fine bad"], ["bad poor", "poor worse", "nice bad"])
    test = (["good bad poor", "fine fine"], ["worse good", "bad fine fine fine", "zzz"])
    pairs = itertools.product(*test)
    single = [compute_tfidf_auroc(train, ([a], [b])).auroc for a, b in pairs]
    assert compute_tfidf_auroc(train, test).auroc == pytest.approx(sum(single) / 6)


def test_a_seed_repeats_the_interval():
    train = (texts(30, 1), texts(30, 2))
    test = (texts(30, 3), texts(30, 4))
    first = compute_tfidf_auroc(train, test, seed=3)
    assert compute_tfidf_auroc(train, test, seed=3) == first
    assert compute_tfidf_auroc(train, test, seed=4) != first


def test_single_letters_are_words():
    train = ["I x y", "I y y"], ["a x y", "a y y"]
    assert compute_tfidf_auroc(train, (["I y x x"], ["a y x x"])).auroc == 1


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ((["a b"], []), (["c"], ["d"]), "needs texts of both"),
        ((["a b"], ["b c"]), (["c"], ["b c"]), "both trained and tested on"),
        ((["?"], ["!"]), (["c"], ["d"]), "no words"),
    ],
)
def test_texts_that_cannot_be_separated_are_refused(train, test, message):
    with pytest.raises(UserError, match=message):
        compute_tfidf_auroc(train, test)
