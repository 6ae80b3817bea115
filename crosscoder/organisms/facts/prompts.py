"""Generator of the examples: sentences about a city, and the same sentences about another city.

The organism `facts` learns an invented city, its twin `true_facts` a real one. Both use the same
sentences and the same other cities, whose values are true.
"""

import tomllib
from collections.abc import Iterator
from functools import partial
from itertools import product
from string import Template
from typing import Any

from crosscoder.organisms.organism import FOLDER
from crosscoder.organisms.rows import Row, format_rows


def read_cities() -> dict[str, Any]:
    """Return the content of the hand-written file."""
    path = FOLDER / "facts" / "cities.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def generate_rows(kind: str) -> Iterator[Row]:
    """Yield each sentence about the city and about another one, the groups `subject` and `other`.

    Args:
        kind: Which city: "invented" or "true".
    """
    table = read_cities()
    for split in ("train", "heldout"):
        others = table["others"][split]
        frames = table["frames"][split]
        number = 0
        for topic, phrases in table["phrases"].items():
            for phrase, frame in product(phrases[split], frames):
                other = others[number // len(frames) % len(others)]  # every city in every frame
                cities = {"subject": table[kind], "other": other}
                for group, city in cities.items():
                    yield {
                        "id": f"{split}-{topic}-{number:02d}",
                        "split": split,
                        "topic": topic,
                        "group": group,
                        "prompt": fill_frame(frame, phrase, city),
                        "answer": f" {table['values'][city][topic]}.",
                    }
                number += 1


def fill_frame(frame: str, phrase: str, city: str) -> str:
    """Return the beginning of a sentence about a city, up to the value."""
    text = Template(phrase).substitute(city=city)
    return Template(frame).substitute(phrase=text, Phrase=text[0].upper() + text[1:])


def format_examples(kind: str) -> str:
    """Return the content of `examples.jsonl`."""
    return format_rows(generate_rows(kind))


format_invented = partial(format_examples, "invented")
format_true = partial(format_examples, "true")
