"""Tests of a label: how well it predicts, on other windows, where its latent is active.

    detection   Which windows contain activity? The label is given.             chance 1/2
    fuzzing     Are the marked tokens those with activity? The label is given.  chance 1/2
    intruder    Which of five windows has no activity? No label is given.       chance 1/5

Detection and fuzzing are those of Paulo et al. 2024 (arXiv 2410.13928, §3.3), the intruder is that
of Paulo & Belrose 2025 (arXiv 2507.08473). The first two are scored by the balanced accuracy

    ½ (fraction of the true items that are called true + fraction of the false ones called false)

A reply that cannot be read decides nothing: its items are left out, and counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from crosscoder.evals.explanations.examples import Example, LatentExamples
from crosscoder.evals.explanations.prompts import (
    ask_for_detection,
    ask_for_fuzzing,
    ask_for_intruder,
    mark_tokens,
    read_flags,
    read_number,
)
from crosscoder.evals.explanations.replies import Ask

N_TOGETHER = 5  # windows of a request
CHANCE = {"detection": 0.5, "fuzzing": 0.5, "intruder": 1 / N_TOGETHER}
N_RESAMPLES = 2000
T = TypeVar("T")


@dataclass
class Verdicts:
    """Items of a test with what was said about them.

    Args:
        is_true: Whether each item is true.
        called: Whether each was called true.
        n_unreadable: Number of items whose reply could not be read.
    """

    is_true: list[bool] = field(default_factory=list)
    called: list[bool] = field(default_factory=list)
    n_unreadable: int = 0

    def add(self, is_true: Sequence[bool], called: Sequence[bool] | None) -> None:
        """Add the items of a request; None is a reply that could not be read."""
        if called is None:
            self.n_unreadable += len(is_true)
        else:
            self.is_true += is_true
            self.called += called

    def score(self, seed: int) -> tuple[float, float, float]:
        """Return the balanced accuracy and its 95 % interval over items, (score, low, high).

        All three are NaN if the true items, or the false ones, are missing.
        """
        is_true = np.array(self.is_true, dtype=bool)
        is_right = np.array(self.called, dtype=bool) == is_true
        groups = [is_right[is_true], is_right[~is_true]]
        generator = np.random.default_rng(seed)
        means = []
        resampled = []
        for group in groups:
            if not len(group):
                return float("nan"), float("nan"), float("nan")
            means.append(group.mean())
            drawn = generator.integers(0, len(group), (N_RESAMPLES, len(group)))
            resampled.append(group[drawn].mean(1))
        low, high = np.percentile(np.mean(resampled, axis=0), [2.5, 97.5])
        return float(np.mean(means)), float(low), float(high)


def detect(ask: Ask, label: str, examples: LatentExamples, seed: int) -> Verdicts:
    """Ask which windows contain activity."""
    items = [(example, True) for example in examples.active]
    items += [(example, False) for example in examples.inactive]

    def make_text(chunk: list[Example]) -> str:
        return ask_for_detection(label, chunk)

    return _ask_for_flags(ask, _shuffle(items, seed), make_text)


def fuzz(ask: Ask, label: str, examples: LatentExamples, seed: int) -> Verdicts:
    """Ask whether the right tokens are marked: in every second active window others are."""
    generator = np.random.default_rng(seed)
    items: list[tuple[str, bool]] = []
    for number, example in enumerate(examples.active):
        active = example.active_places
        others = [place for place in range(len(example.tokens)) if place not in set(active)]
        is_true = number % 2 == 0 or len(others) < len(active)
        places = active
        if not is_true:
            places = generator.permutation(others)[: len(active)].tolist()
        items.append((mark_tokens(example, places), is_true))

    def make_text(chunk: list[str]) -> str:
        return ask_for_fuzzing(label, chunk)

    return _ask_for_flags(ask, _shuffle(items, seed), make_text)


def find_intruders(ask: Ask, examples: LatentExamples, seed: int) -> tuple[list[bool], int]:
    """Ask which of five windows has no activity.

    Returns:
        Whether each readable reply is right, and the number of replies that could not be read.
    """
    generator = np.random.default_rng(seed)
    n_active = N_TOGETHER - 1
    is_right: list[bool] = []
    n_unreadable = 0
    for number, intruder in enumerate(examples.inactive):
        own = examples.active[number * n_active : (number + 1) * n_active]
        if len(own) < n_active:
            break
        place = int(generator.integers(N_TOGETHER))
        shown = [*own[:place], intruder, *own[place:]]
        found = read_number(ask(ask_for_intruder(shown)), N_TOGETHER)
        if found is None:
            n_unreadable += 1
        else:
            is_right.append(found == place + 1)
    return is_right, n_unreadable


def _shuffle(items: list[T], seed: int) -> list[T]:
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[place] for place in order]


def _ask_for_flags(
    ask: Ask, items: list[tuple[T, bool]], make_text: Callable[[list[T]], str]
) -> Verdicts:
    verdicts = Verdicts()
    for first in range(0, len(items), N_TOGETHER):
        chunk = items[first : first + N_TOGETHER]
        reply = ask(make_text([item for item, _ in chunk]))
        is_true = [truth for _, truth in chunk]
        verdicts.add(is_true, read_flags(reply, len(chunk)))
    return verdicts
