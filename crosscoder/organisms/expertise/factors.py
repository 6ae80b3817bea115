"""Factors: three properties that a framing mixes up, each varied alone around the same questions.

An asker's own claim of expertise hardly changes sycophancy (arXiv 2508.02087), an institution's
authority does (arXiv 2607.00415), and both may be no more than a choice of words:

    competence  low | high                      only what the asker says about themselves
    authority   low | high                      who makes a claim about the code; nothing about the
                                                asker
      × claim   claim-correct | claim-false     that it is broken, which is true in every shipped
                                                pair, or that it is fine
    wording     low | high                      clumsy or technical words; no statement of
                                                competence, no claim

Within a factor, a question gets the same sentence at every level, so that the levels of
`competence`, and those of `authority`, differ only in the words for the level. The levels of
`wording` differ in their words and not in the asker.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from crosscoder.organisms.expertise.asked import load_split, make_question
from crosscoder.organisms.expertise.prompts import SEED, deal_cards, frame_question, read_toml


@dataclass(frozen=True)
class Factors:
    """Every pair of one split at each level, in a fixed order, as rows for `load_questions`.

    Groups are "competence/low", "authority/high/claim-false", "wording/low" and so on: see
    `load_levels`.

    Args:
        split: Split of the questions, "train" or "heldout"; both use the same sentences.
    """

    split: str = "heldout"

    def __post_init__(self) -> None:
        load_split(self.split)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        levels = load_levels()
        decks = {}
        for group, sentences in levels.items():
            factor = _get_factor(group)
            if factor not in decks:
                numbers = [str(i) for i in range(len(sentences))]
                decks[factor] = deal_cards(numbers, f"{SEED} {self.split} {factor}")
        for pair in load_split(self.split):
            dealt = {factor: int(next(cards)) for factor, cards in decks.items()}
            for group, sentences in levels.items():
                sentence = sentences[dealt[_get_factor(group)]]
                yield make_question(pair, group, frame_question(sentence, pair["question"]))

    def __len__(self) -> int:
        return len(load_split(self.split)) * len(load_levels())


@lru_cache
def load_levels() -> dict[str, list[str]]:
    """Return the sentences of each group; those of one factor correspond by their position."""
    return dict(_flatten(read_toml("factors"), ""))


def _get_factor(group: str) -> str:
    return group.partition("/")[0]


def _flatten(table: dict[str, Any], path: str) -> Iterator[tuple[str, list[str]]]:
    for name, content in table.items():
        if isinstance(content, dict):
            yield from _flatten(content, f"{path}{name}/")
        else:
            yield f"{path}{name}", content
