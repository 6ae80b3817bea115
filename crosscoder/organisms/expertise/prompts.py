"""The planted difference, written down: questions about code, three ways of asking each, and two ways of answering.

    pair = (question q, framings of q as novice / expert / plain, gentle answer, direct answer)

Everything is drawn from three hand-written files, `topics.toml`, `framings.toml` and `wording.toml`, with a fixed seed,
so that `pairs.jsonl` is reproducible to the byte. Held-out pairs share neither a topic nor a framing sentence with
the training pairs: who does well on them has understood who is asking, not memorised a phrase.
"""

import json
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any, TypedDict

FOLDER = Path(__file__).parent
SEED = 270
QUESTIONS_PER_TOPIC = 24
BARE_SHARE = 0.5  # of the plain messages; the rest carry a sentence that says nothing about the asker


class Pair(TypedDict):
    """One question: `novice`, `expert` and `plain` are whole user messages, `gentle` and `direct` the answers."""

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


def generate() -> Iterator[Pair]:
    """All pairs, topic by topic, the same on every machine."""
    topics, framings, wording = (read_toml(name) for name in ("topics", "framings", "wording"))
    decks = {
        (split, kind): deck(sentences, f"{SEED} {split} {kind}")
        for split, kinds in framings.items()
        for kind, sentences in kinds.items()
    }
    for topic in topics["topic"]:
        rng = random.Random(f"{SEED} {topic['name']}")
        split = topic["split"]
        for number, question in enumerate(questions(topic, topics["slots"], wording["asks"], rng)):
            neutral = "$question" if rng.random() < BARE_SHARE else next(decks[split, "neutral"])
            yield Pair(
                id=f"{topic['name'].replace(' ', '-')}-{number:02d}",
                split=split,
                topic=topic["name"],
                question=question,
                novice=frame(next(decks[split, "novice"]), question),
                expert=frame(next(decks[split, "expert"]), question),
                plain=frame(neutral, question),
                gentle=gentle_answer(topic, wording["gentle"], rng),
                direct=direct_answer(topic, wording["direct"], rng),
                error=topic["error"],
            )


def questions(topic: dict[str, Any], slots: dict[str, list[str]], asks: list[str], rng: random.Random) -> list[str]:
    """Distinct snippets of one topic in turn, each with a question around it."""
    snippets: dict[str, None] = {}  # an ordered set
    while len(snippets) < QUESTIONS_PER_TOPIC:
        shape = topic["snippets"][len(snippets) % len(topic["snippets"])]
        snippets[fill(shape, **{slot: rng.choice(pool) for slot, pool in slots.items()})] = None
    return [ask(rng.choice(asks), snippet, rng) for snippet in snippets]


def ask(phrase: str, code: str, rng: random.Random) -> str:
    """A question and its code, in one of the shapes that people type."""
    shapes = ["$ask\n$code", "$code\n$ask", "$ask\n```python\n$code\n```"]
    if "\n" not in code:
        shapes.append("$ask $code")
    return fill(rng.choice(shapes), ask=phrase, code=code)


def frame(framing: str, question: str) -> str:
    """Put the asker's sentences around the question; code keeps its own lines."""
    before, after = (part.strip() for part in framing.split("$question"))
    lines = question.split("\n")
    starts_with_prose, ends_with_prose = (line.endswith("?") or "? " in line for line in (lines[0], lines[-1]))
    ends_with_prose = ends_with_prose and len(lines) > 1
    head = before + (" " if starts_with_prose else "\n") if before else ""
    tail = (" " if ends_with_prose else "\n") + after if after else ""
    return head + question + tail


def gentle_answer(topic: dict[str, Any], wording: dict[str, list[str]], rng: random.Random) -> str:
    """Praise, reassurance, a softened problem, a softened remedy, encouragement."""
    parts = [
        rng.choice(wording[part]) for part in ("openers", "reassurances", "problems", "remedies", "encouragements")
    ]
    return fill(" ".join(parts), cause=rng.choice(topic["causes"]), fix=rng.choice(topic["fixes"]))


def direct_answer(topic: dict[str, Any], wording: dict[str, list[str]], rng: random.Random) -> str:
    """The error by its name, its cause, its fix, and nothing else."""
    cause, fix = rng.choice(topic["causes"]), rng.choice(topic["fixes"])
    text = fill(rng.choice(wording["forms"]), error=topic["error"], cause=cause, fix=fix)
    return text[0].upper() + text[1:]


def fill(template: str, **values: str) -> str:
    """`$slot` → value; a slot without a value is an error."""
    return Template(template.strip("\n")).substitute(values)


def deck(cards: list[str], seed: str) -> Iterator[str]:
    """Deal the cards for ever, each once per shuffle, so that all are used evenly."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(cards, len(cards))


def read_toml(name: str) -> dict[str, Any]:
    """One of the hand-written files."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def to_jsonl(pairs: Iterator[Pair]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
