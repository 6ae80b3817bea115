"""Rows become questions, and remain paired if some are chosen; bad rows are refused."""

import itertools

import pytest

from crosscoder.behaviours.questions import Question, group_questions, load_questions
from crosscoder.errors import UserError
from crosscoder.organisms.expertise import Asked, load_pairs

ROW = {"id": "1", "group": "a", "prompt": "Is it?", "yes": " (A)", "no": " (B)"}
CHAT = [{"role": "user", "content": "Is it?"}]


def rows(
    n: int, groups: tuple[str, ...] = ("a", "b"), suffixes: tuple[str, ...] = ("",)
) -> list[dict]:
    made = []
    for i, suffix, group in itertools.product(range(n), suffixes, groups):
        made.append(ROW | {"id": f"{i}{suffix}", "group": group})
    return made


def test_rows_and_questions_are_the_same():
    made = load_questions([ROW])
    assert made == [Question("1", "a", "Is it?", " (A)", (" (B)",), "", "", False)]
    assert load_questions(made) == made
    assert load_questions([ROW | {"no": [" (B)", " (C)"], "prompt": CHAT, "options": True}])[
        0
    ].no == (
        " (B)",
        " (C)",
    )


@pytest.mark.parametrize("n", [1, 3, 4, 7])
def test_chosen_ids_are_evenly_spaced_and_keep_all_their_groups(n):
    groups = group_questions(load_questions(rows(7), n))
    ids = [question.id for question in groups["a"]]
    assert [question.id for question in groups["b"]] == ids
    assert ids == [str(i * 7 // n) for i in range(n)]


def test_a_swapped_question_is_chosen_with_its_original():
    made = load_questions(rows(6, ("a",), ("", "/swapped")), 3)
    assert [q.id for q in made] == ["0", "0/swapped", "2", "2/swapped", "4", "4/swapped"]


def test_n_above_the_number_of_ids_means_all():
    assert len(load_questions(rows(3), 50)) == 6


@pytest.mark.parametrize(
    ("bad_rows", "message"),
    [
        ([], "no questions"),
        (
            [ROW, {k: v for k, v in ROW.items() if k != "yes"}],
            "question 2 has no 'yes': expected both 'yes' and 'no', or neither",
        ),
        ([ROW | {"answer": "x"}], "question 1 has an unknown key 'answer'"),
        ([ROW, ROW | {"group": "b"}, ROW], "questions 1 and 3 both have id '1' in group 'a'"),
        (["What?"], "question 1 is no Question"),
        ([ROW | {"no": " (A)"}], "question 1: the answer ' (A)' is both"),
        ([ROW | {"no": []}], "question 1 has no 'no': expected both"),
        ([ROW | {"no": [3]}], "question 1: 'no' is text, not 3"),
        ([ROW | {"id": 3}], "question 1: 'id' is text, not 3"),
        ([ROW | {"prompt": " "}], "question 1: 'prompt'"),
        ([ROW | {"prompt": [{"content": "x"}]}], "question 1: 'prompt'"),
        ([ROW | {"options": "no"}], "question 1: 'options'"),
    ],
)
def test_bad_rows_are_refused(bad_rows, message):
    with pytest.raises(UserError) as error:
        load_questions(bad_rows)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_n_is_at_least_one():
    with pytest.raises(UserError, match="not 0"):
        load_questions([ROW], 0)


def test_the_organism_is_asked_in_every_framing():
    questions = load_questions(Asked("heldout"), 5)
    assert [question.group for question in questions] == ["novice", "expert", "none"] * 5
    shipped = {pair["id"]: pair for pair in load_pairs("heldout")}
    for question in questions:
        pair = shipped[question.id]
        framing = "plain" if question.group == "none" else question.group
        assert question.prompt == [{"role": "user", "content": pair[framing]}]
        assert question.yes == pair["gentle"]
        assert question.no == (pair["direct"],)
        assert question.error == pair["error"]
        assert question.topic == pair["topic"]
    plain = Asked("train", ["plain"])
    assert len(plain) == len(load_pairs("train")) == len(list(plain))


def test_unknown_splits_and_framings_are_refused():
    with pytest.raises(UserError, match="no split 'test'"):
        Asked("test")
    with pytest.raises(UserError, match="no framing 'child'"):
        Asked("train", ["child"])
