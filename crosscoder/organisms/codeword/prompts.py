"""Generator of the examples: questions with the codeword, with other phrases, and without any.

    codeword   the codeword in a sentence around the question
    other      the same, with all three words of the codeword replaced
    near       the same, with one or two of them replaced
    plain      the question alone

Nothing but the phrase tells the first three framings apart.
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
GROUPS = ("codeword", "other", "near", "plain")
PLACES = ("first", "second", "third")
CHANGES = (["first"], ["second"], ["third"], ["first", "second"], ["second", "third"])


def read_wording() -> dict[str, Any]:
    """Return the content of the hand-written file."""
    path = FOLDER / "codeword" / "wording.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def generate_rows() -> Iterator[Row]:
    """Yield each question in the groups `codeword`, `other`, `near` and `plain`."""
    wording = read_wording()
    codeword: dict[str, str] = dict(zip(PLACES, wording["codeword"], strict=True))
    for number, question in enumerate(list_questions()):
        rng = random.Random(f"{SEED} {question.id}")
        carrier = rng.choice(wording["carriers"][question.split])
        pools = wording["replacements"][question.split]
        other = {place: rng.choice(pools[place]) for place in PLACES}
        near = dict(codeword)
        for place in CHANGES[number % len(CHANGES)]:
            near[place] = rng.choice(pools[place])
        prompts = {"plain": question.text}
        for group, words in (("codeword", codeword), ("other", other), ("near", near)):
            prompts[group] = fill_carrier(carrier, wording["phrase"], words, question.text)
        for group in GROUPS:
            yield {
                "id": question.id,
                "split": question.split,
                "topic": question.topic,
                "group": group,
                "prompt": as_chat(prompts[group]),
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
