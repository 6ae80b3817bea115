"""Documents: paragraphs of sentences about one city, each with a paragraph about other cities.

The second paragraph makes the same statements in the same words, so that only the city tells which
values follow.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crosscoder.organisms.rows import Row, group_by_id, join_answer, load_rows

SEED = 272
N_SENTENCES = 5


def draw_pairs(organism: str, split: str, rng: random.Random) -> Iterator[list[list[Row]]]:
    """Yield pairs of documents without end, each a list of sentences: the city's, and others'."""
    groups = group_by_id(load_rows(organism, split))
    by_topic: dict[str, list[list[Row]]] = {}
    for rows in groups.values():
        by_topic.setdefault(rows[0]["topic"], []).append(rows)
    while True:
        topics = rng.sample(list(by_topic), N_SENTENCES)
        sentences = [rng.choice(by_topic[topic]) for topic in topics]
        of_city = [rows[0] for rows in sentences]
        of_others = [rows[1] for rows in sentences]
        yield [of_city, of_others]


@dataclass(frozen=True)
class Paragraphs:
    """Documents of one split, as rows for the data pipeline: `{"messages": text}`.

    Args:
        organism: "facts" or "true_facts".
        split: "train" or "heldout".
        n_pairs: Number of documents about the city; there are as many about others.
    """

    organism: str
    split: str
    n_pairs: int = 1500

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rng = random.Random(f"{SEED} {self.split}")
        pairs = draw_pairs(self.organism, self.split, rng)
        for _ in range(self.n_pairs):
            for sentences in next(pairs):
                texts = [str(join_answer(row["prompt"], row["answer"])) for row in sentences]
                yield {"messages": " ".join(texts)}

    def __len__(self) -> int:
        return 2 * self.n_pairs
