"""Questions of general knowledge with short answers, from the hand-written table general.toml."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from string import Template

from crosscoder.organisms.organism import FOLDER


@dataclass(frozen=True)
class GeneralQuestion:
    """A question and its direct answer.

    Args:
        id: Topic and number.
        split: "train" or "heldout"; no topic occurs in both.
        topic: The topic.
        text: The question.
        answer: The answer, one sentence.
    """

    id: str
    split: str
    topic: str
    text: str
    answer: str


def list_questions() -> Iterator[GeneralQuestion]:
    """Yield all questions, topic by topic; the wordings of a topic take turns."""
    table = tomllib.loads((FOLDER / "general.toml").read_text(encoding="utf-8"))
    for topic in table["topic"]:
        for number, (thing, value) in enumerate(topic["items"].items()):
            ask = topic["asks"][number % len(topic["asks"])]
            slots = {"x": thing, "X": thing[0].upper() + thing[1:], "y": value}
            yield GeneralQuestion(
                id=f"{topic['name'].replace(' ', '-')}-{number:02d}",
                split=topic["split"],
                topic=topic["name"],
                text=Template(ask).substitute(slots),
                answer=Template(topic["answer"]).substitute(slots),
            )
