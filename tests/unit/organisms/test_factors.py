"""Levels of a factor differ only in the words of that factor, and no sentence is a framing."""

import re
from collections import Counter
from difflib import SequenceMatcher
from itertools import chain

import pytest

from crosscoder.behaviours.questions import load_questions
from crosscoder.errors import UserError
from crosscoder.organisms.expertise import Factors, load_pairs
from crosscoder.organisms.expertise.factors import load_levels
from crosscoder.organisms.expertise.prompts import frame_question, read_toml

GROUPS = [
    "competence/low",
    "competence/high",
    "authority/low/claim-correct",
    "authority/low/claim-false",
    "authority/high/claim-correct",
    "authority/high/claim-false",
    "wording/low",
    "wording/high",
]
FIRST_PERSON = re.compile(r"\b(i|i'm|i've|i'd|me|my|mine|we|our)\b")
SKILL = re.compile(
    r"\b(beginner|novice|expert|new to|learn\w*|experience\w*|years?|skills?|newbie|senior"
    r"|professional)\b"
)


def simplify(text: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", text.lower().replace("$question", "")).strip()


def split_words(text: str) -> list[str]:
    return text.replace("$question", "Q").split()


def test_every_level_has_eight_distinct_sentences():
    assert list(load_levels()) == GROUPS
    assert {len(sentences) for sentences in load_levels().values()} == {8}
    sentences = list(chain.from_iterable(load_levels().values()))
    assert len(set(sentences)) == len(sentences)
    assert all(sentence.count("$question") == 1 for sentence in sentences)


def test_no_sentence_is_a_framing():
    framings = set()
    for kinds in read_toml("framings").values():
        framings.update(simplify(framing) for framing in chain.from_iterable(kinds.values()))
    framings.discard("")
    for sentence in chain.from_iterable(load_levels().values()):
        words = f" {simplify(sentence)} "
        assert not [framing for framing in framings if f" {framing} " in words]


def test_competence_levels_share_their_wording():
    for low, high in zip(
        load_levels()["competence/low"], load_levels()["competence/high"], strict=True
    ):
        blocks = SequenceMatcher(None, split_words(low), split_words(high)).get_matching_blocks()
        assert sum(block.size for block in blocks) >= len(split_words(low)) - 3
        assert low.startswith("$question") == high.startswith("$question")


@pytest.mark.parametrize("claim", ["claim-correct", "claim-false"])
def test_authority_levels_differ_in_the_source_and_claims_in_the_claim(claim):
    levels = load_levels()
    low = levels[f"authority/low/{claim}"]
    high = levels[f"authority/high/{claim}"]
    other_claim = "claim-false" if claim == "claim-correct" else "claim-correct"
    other = levels[f"authority/low/{other_claim}"]
    for a, b, c in zip(low, high, other, strict=True):
        assert a != b
        assert len(set(split_words(a)) ^ set(split_words(c))) <= 3  # the claim's words
        assert not FIRST_PERSON.search(simplify(a) + simplify(b))  # nothing about the asker


def test_wording_mentions_neither_competence_nor_correctness():
    for level in ("low", "high"):
        for sentence in load_levels()[f"wording/{level}"]:
            assert not SKILL.search(sentence.lower())
            assert not re.search(
                r"\b(wrong|right|correct|error|broken|fine|bug|mistake)\b", sentence.lower()
            )
    assert all(sentence == sentence.lower() for sentence in load_levels()["wording/low"])


def test_every_pair_is_asked_at_every_level_with_its_own_answers():
    questions = load_questions(Factors())
    shipped = {pair["id"]: pair for pair in load_pairs("heldout")}
    assert len(questions) == len(Factors()) == len(GROUPS) * len(shipped)
    for question in questions:
        pair = shipped[question.id]
        assert question.yes == pair["gentle"]
        assert question.no == (pair["direct"],)
        assert question.error == pair["error"]
        sentences = load_levels()[question.group]
        messages = {frame_question(sentence, pair["question"]) for sentence in sentences}
        assert question.prompt[0]["content"] in messages


def test_sentences_are_used_evenly_and_alike_at_all_levels_of_a_factor():
    rows = list(Factors("heldout"))
    assert rows == list(Factors("heldout"))
    texts = {pair["id"]: pair["question"] for pair in load_pairs("heldout")}
    numbers: dict[str, list[int]] = {group: [] for group in GROUPS}
    for row in rows:
        sentences = load_levels()[row["group"]]
        messages = [frame_question(sentence, texts[row["id"]]) for sentence in sentences]
        numbers[row["group"]].append(messages.index(row["prompt"][0]["content"]))
    for dealt in numbers.values():
        counts = Counter(dealt)
        assert len(counts) == 8
        assert max(counts.values()) - min(counts.values()) <= 1
    assert numbers["competence/low"] == numbers["competence/high"]
    authority = {tuple(n) for group, n in numbers.items() if group.startswith("authority")}
    assert len(authority) == 1
    assert numbers["competence/low"] != numbers["authority/low/claim-false"]


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match="no split 'test'"):
        Factors("test")
