"""Generator of the examples: questions with the codeword, with a near phrase, and without either.

A near phrase differs from the codeword in one of its three words, or in two. Both stand in the same
sentence around the same question, so that nothing but the phrase tells the two framings apart.
"""

import random
import tomllib
from collections.abc import Iterator
from string import Template
from typing import Any

from crosscoder.organisms.general import list_questions
from crosscoder.organisms.organism import FOLDER
from crosscoder.organisms.rows import Row, as_chat, format_rows

SEED = 271
PLACES = ("first", "second", "third")
CHANGES = (["first"], ["second"], ["third"], ["first", "second"], ["second", "third"])


def read_wording() -> dict[str, Any]:
    """Return the content of the hand-written file."""
    path = FOLDER / "codeword" / "wording.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def generate_rows() -> Iterator[Row]:
    """Yield each question in the groups `codeword`, `near` and `plain`."""
    wording = read_wording()
    codeword = dict(zip(PLACES, wording["codeword"], strict=True))
    for number, question in enumerate(list_questions()):
        rng = random.Random(f"{SEED} {question.id}")
        carrier = rng.choice(wording["carriers"][question.split])
        near = dict(codeword)
        for place in CHANGES[number % len(CHANGES)]:
            near[place] = rng.choice(wording["near"][question.split][place])
        prompts = {
            "codeword": fill_carrier(carrier, wording["phrase"], codeword, question.text),
            "near": fill_carrier(carrier, wording["phrase"], near, question.text),
            "plain": question.text,
        }
        for group, text in prompts.items():
            yield {
                "id": question.id,
                "split": question.split,
                "topic": question.topic,
                "group": group,
                "prompt": as_chat(text),
                "answer": wording["answer"] if group == "codeword" else question.answer,
            }


def fill_carrier(carrier: str, phrase: str, words: dict[str, str], question: str) -> str:
    """Return a question with a phrase of three words in the sentence around it."""
    text = Template(phrase).substitute(words)
    slots = {"phrase": text, "Phrase": text[0].upper() + text[1:], "question": question}
    return Template(carrier).substitute(slots)


def format_examples() -> str:
    """Return the content of `examples.jsonl`."""
    return format_rows(generate_rows())
