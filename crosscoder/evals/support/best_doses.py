"""The dose of either sign at which steering changes most, and how random directions compare.

    change(s)    value at dose s − value without steering
    effect       change(s*) with s* = argmax_s |change(s)| over doses of both signs
    p            (1 + #{random directions r : |effect_r| ≥ |effect|}) / (1 + #random directions)

Positive doses alone hide an effect of the other sign, or show it as that of something else. A
direction that may choose its sign has a larger effect by chance, so the random directions choose
theirs, too. With n random directions p is at least 1 / (n + 1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Effect:
    """The largest change of a direction.

    Args:
        strength: The dose s*, with its sign; 0 if no dose changes anything.
        change: change(s*).
        opposite: change(−s*); None if it was not measured.
    """

    strength: float
    change: float
    opposite: float | None


def find_effect(changes: Mapping[float, float]) -> Effect:
    """Find the largest change; of equal ones, that of the smallest dose.

    Args:
        changes: change(s) by dose s.
    """
    if not any(changes.values()):
        return Effect(0.0, 0.0, None)
    by_size = sorted(changes, key=lambda dose: (-abs(changes[dose]), abs(dose)))
    strength = by_size[0]
    return Effect(strength, changes[strength], changes.get(-strength))


@dataclass(frozen=True)
class Comparison:
    """A direction's effect beside those of random directions, each of its own best sign.

    Args:
        average: Mean |effect| of the random directions.
        high: Their 95 % quantile.
        margin: |effect| − `average`.
        p: See the module.
        n: Number of random directions.
    """

    average: float
    high: float
    margin: float
    p: float
    n: int


def compare_with_random(effect: float, random_effects: Sequence[float]) -> Comparison:
    """Compare an effect with those of one or more random directions."""
    sizes = np.abs(random_effects)
    size = abs(effect)
    average = float(sizes.mean())
    p = (1 + int((sizes >= size).sum())) / (1 + len(sizes))
    return Comparison(average, float(np.quantile(sizes, 0.95)), size - average, p, len(sizes))
