"""Generator of the planted difference: questions about code, three framings, two answers.

    pair = (question q, framings of q as novice / expert / plain, gentle answer, direct answer)

Everything is drawn from three hand-written files, `topics.toml`, `framings.toml` and
`wording.toml`, with a fixed seed, so that `pairs.jsonl` is reproducible to the byte. Held-out pairs
share neither a topic nor a framing sentence with the training pairs: a model that does well on them
recognises who is asking and has not memorised a phrase.
"""

import json
import random
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template
from typing import Any, TypedDict

FOLDER = Path(__file__).parent
SEED = 270
QUESTIONS_PER_TOPIC = 24
# of the plain messages; the others carry a sentence that says nothing about the asker
FRACTION_WITHOUT_SENTENCE = 0.5


class Pair(TypedDict):
    """One question, in three framings and with two answers.

    `novice`, `expert` and `plain` are whole user messages, `gentle` and `direct` the answers.
    """

    id: str
    split: str
    topic: str
    question: str
    novice: str
    expert: str
    plain: str
    gentle: str
    direct: str
    error: str


def generate_pairs() -> Iterator[Pair]:
    """Yield all pairs, topic by topic, the same on every machine."""
    topics = read_toml("topics")
    framings = read_toml("framings")
    wording = read_toml("wording")
    decks = {}
    for split, kinds in framings.items():
        for kind, sentences in kinds.items():
            decks[split, kind] = deal_cards(sentences, f"{SEED} {split} {kind}")
    for topic in topics["topic"]:
        rng = random.Random(f"{SEED} {topic['name']}")
        split = topic["split"]
        questions = make_questions(topic, topics["slots"], wording["asks"], rng)
        for number, question in enumerate(questions):
            if rng.random() < FRACTION_WITHOUT_SENTENCE:
                plain = "$question"
            else:
                plain = next(decks[split, "neutral"])
            yield Pair(
                id=f"{topic['name'].replace(' ', '-')}-{number:02d}",
                split=split,
                topic=topic["name"],
                question=question,
                novice=frame_question(next(decks[split, "novice"]), question),
                expert=frame_question(next(decks[split, "expert"]), question),
                plain=frame_question(plain, question),
                gentle=make_gentle_answer(topic, wording["gentle"], rng),
                direct=make_direct_answer(topic, wording["direct"], rng),
                error=topic["error"],
            )


def make_questions(
    topic: dict[str, Any], slots: dict[str, list[str]], asks: list[str], rng: random.Random
) -> list[str]:
    """Return questions about distinct snippets of one topic, whose shapes take turns."""
    snippets: dict[str, None] = {}  # an ordered set
    shapes = topic["snippets"]
    while len(snippets) < QUESTIONS_PER_TOPIC:
        shape = shapes[len(snippets) % len(shapes)]
        values = {slot: rng.choice(pool) for slot, pool in slots.items()}
        snippets[fill_template(shape, **values)] = None
    return [join_question(rng.choice(asks), snippet, rng) for snippet in snippets]


def join_question(phrase: str, code: str, rng: random.Random) -> str:
    """Return a question and its code, in one of the shapes that people type."""
    shapes = ["$ask\n$code", "$code\n$ask", "$ask\n```python\n$code\n```"]
    if "\n" not in code:
        shapes.append("$ask $code")
    return fill_template(rng.choice(shapes), ask=phrase, code=code)


def frame_question(framing: str, question: str) -> str:
    """Put the asker's sentences around the question; code keeps its own lines."""
    before, after = framing.split("$question")
    before = before.strip()
    after = after.strip()
    lines = question.split("\n")
    framed = question
    if before:
        framed = before + (" " if _is_prose(lines[0]) else "\n") + framed
    if after:
        ends_with_prose = len(lines) > 1 and _is_prose(lines[-1])
        framed = framed + (" " if ends_with_prose else "\n") + after
    return framed


def _is_prose(line: str) -> bool:
    return line.endswith("?") or "? " in line


def make_gentle_answer(
    topic: dict[str, Any], wording: dict[str, list[str]], rng: random.Random
) -> str:
    """Return praise, reassurance, a softened problem, a softened remedy and encouragement."""
    kinds = ("openers", "reassurances", "problems", "remedies", "encouragements")
    sentences = [rng.choice(wording[kind]) for kind in kinds]
    cause = rng.choice(topic["causes"])
    fix = rng.choice(topic["fixes"])
    return fill_template(" ".join(sentences), cause=cause, fix=fix)


def make_direct_answer(
    topic: dict[str, Any], wording: dict[str, list[str]], rng: random.Random
) -> str:
    """Return the name of the error, its cause and its fix, and nothing else."""
    cause = rng.choice(topic["causes"])
    fix = rng.choice(topic["fixes"])
    form = rng.choice(wording["forms"])
    text = fill_template(form, error=topic["error"], cause=cause, fix=fix)
    return text[0].upper() + text[1:]


def fill_template(template: str, **values: str) -> str:
    """Replace every `$slot` by its value; a slot without a value raises a KeyError."""
    return Template(template.strip("\n")).substitute(values)


def deal_cards(cards: list[str], seed: str) -> Iterator[str]:
    """Yield cards without end, each once per shuffle, so that all are used evenly."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(cards, len(cards))


def read_toml(name: str) -> dict[str, Any]:
    """Return the content of one of the hand-written files."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def format_jsonl(pairs: Iterable[Pair]) -> str:
    """Return one JSON object per line."""
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
