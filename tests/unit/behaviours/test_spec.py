"""A behaviour is one object; what another one needs is a YAML file."""

import dataclasses
import json

import numpy as np
import pytest

from crosscoder import load_behaviour
from crosscoder.behaviours.markers import MatchesAny, RepeatsAnswer
from crosscoder.behaviours.question_file import QuestionFile
from crosscoder.behaviours.questions import SWAPPED, Question, load_questions
from crosscoder.behaviours.spec import BehaviourSpec
from crosscoder.behaviours.splits import Half
from crosscoder.errors import UserError

LINES = [
    {
        "id": str(number),
        "question": f"Is {number} even?",
        "sure": "I am sure that it is odd. {question}",
        "plain": "{question}",
        "yes": "It is odd.",
        "no": ["It is even.", "I do not know."],
    }
    for number in range(0, 12, 2)
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


@pytest.fixture
def behaviour(file) -> BehaviourSpec:
    return load_behaviour("files", questions={"path": str(file)}, framing="sure", control="plain")


def test_a_file_of_questions_is_a_behaviour(behaviour):
    shown, control = behaviour.load_framings("heldout")
    assert [question.id for question in shown] == ["2", "6", "10"]
    assert shown[0].prompt == [
        {"role": "user", "content": "I am sure that it is odd. Is 2 even?"},
    ]
    assert control[0].prompt == [{"role": "user", "content": "Is 2 even?"}]
    assert shown[0].no == ("It is even.", "I do not know.")
    assert len(behaviour.make_prompt_pairs("train")) == 3


def test_both_halves_have_every_question_once(behaviour):
    ids = {split: {one.id for one in behaviour.load(split)} for split in ("train", "heldout")}
    assert not ids["train"] & ids["heldout"]
    assert ids["train"] | ids["heldout"] == {line["id"] for line in LINES}


def test_a_question_and_its_swapped_version_are_in_the_same_half():
    rows = []
    for number in range(4):
        rows += [{"id": f"{number}"}, {"id": f"{number}{SWAPPED}"}]
    assert [row["id"] for row in Half(rows, "train")] == ["0", f"0{SWAPPED}", "2", f"2{SWAPPED}"]


def test_a_split_column_is_used_where_it_is_asked_for(file):
    lines = [line | {"split": "train" if int(line["id"]) < 4 else "heldout"} for line in LINES]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = load_questions(QuestionFile(file, split="heldout"))
    assert {row.id for row in rows} == {"4", "6", "8", "10"}
    with pytest.raises(UserError, match=r"no line of .* has the split 'test'"):
        list(QuestionFile(file, split="test"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"framing": "calm"}, "expected questions in the groups 'calm' and 'plain', found sure, p"),
        ({"framing": "plain"}, "are both 'plain'"),
        ({"framing": " "}, "behaviour.framing: expected text"),
    ],
)
def test_a_wrong_framing_is_refused(behaviour, change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(behaviour, **change).load("train")


def test_without_marker_judge_and_answers_nothing_can_be_measured(file):
    lines = [{key: line[key] for key in ("id", "question", "sure", "plain")} for line in LINES]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = {"questions": {"path": str(file)}, "framing": "sure", "control": "plain"}
    with pytest.raises(UserError, match="no marker and no judge"):
        load_behaviour("files", **settings).load("train")
    marker = {"_target_": "crosscoder.behaviours.markers.MatchesAny", "patterns": ["odd"]}
    assert load_behaviour("files", marker=marker, **settings).load("train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "1", "question": "Q?", "plain": "Q?"}, "two or more framings"),
        ({"question": "Q?", "a": "Q?", "b": "Q!"}, "has no 'id'"),
        ({"id": "1", "question": "Q?", "a": "Q?", "b": "Q!", "yes": "Y"}, "has no 'no'"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(UserError, match=message):
        load_questions(QuestionFile(path))


def test_a_missing_file_is_refused_at_once(tmp_path):
    with pytest.raises(UserError, match=r"set behaviour\.questions\.path"):
        QuestionFile(tmp_path / "none.jsonl")


def test_names_and_missing_values_are_explained():
    with pytest.raises(UserError, match=r"no behaviour 'expertize'; conf/behaviour has .*exp"):
        load_behaviour("expertize")
    with pytest.raises(UserError, match=r"needs values for control, framing, questions\.path"):
        load_behaviour("files")


def test_the_marker_comes_before_the_judge_and_the_judge_before_the_answers(behaviour):
    questions = behaviour.load("train", 1)
    differences = np.array([1.0, -1.0])
    assert behaviour.detect(questions, ["", ""], differences).tolist() == [1, 0]
    judged = dataclasses.replace(behaviour, judge=lambda prompts, answers: [0.4, 0.5])
    assert judged.detect(questions, ["", ""], differences).tolist() == [0, 1]
    marked = dataclasses.replace(judged, marker=MatchesAny(["well done"]))
    assert marked.detect(questions, ["Well done!", "No."], differences).tolist() == [1, 0]


QUESTION = Question("1", "g", "Who?", yes="J. R. R. Tolkien", no=("C.S. Lewis",))


@pytest.mark.parametrize(
    ("answer", "is_repeated"),
    [
        ("It was j.r.r. tolkien.", True),
        ("It was J. R. R. Tolkien, not C. S. Lewis.", False),
        ("It was Tolkien.", False),
        ("J. R. R. Tolkiens", False),
    ],
)
def test_an_answer_repeats_the_wrong_one_in_whole_words(answer, is_repeated):
    assert RepeatsAnswer()(answer, QUESTION) is is_repeated


@pytest.mark.parametrize("patterns", [[], "great", ["("]])
def test_patterns_that_cannot_be_used_are_refused(patterns):
    with pytest.raises(UserError, match=r"behaviour\.marker\.patterns"):
        MatchesAny(patterns)
