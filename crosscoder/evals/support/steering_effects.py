"""Tables and figures of the steering eval: the largest effect of every direction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosscoder.evals.support.best_doses import Effect, compare_with_random, find_effect

Row = dict[str, Any]
NLL = "NLL under base"
# columns of the mean over questions and of its interval
CONTRAST = ("contrast", "contrast low", "contrast high")
RATE = ("rate", "low", "high")


@dataclass(frozen=True)
class ModelDoses:
    """Measurements of one model.

    Args:
        unsteered: The model without an edit.
        rows: The steered model, with `direction`, `strength` and perhaps `draw`.
        coherent: Largest rise of the answers' NLL, in nats per token.
    """

    unsteered: Row
    rows: Sequence[Row]
    coherent: float

    def list_effects(self, measure: str) -> list[Row]:
        """Return the largest effect of each chosen direction on a measure that was taken of it."""
        chosen = self._group(measure, is_random=False)
        drawn = self._group(measure, is_random=True)
        random_doses: set[float] = set()
        for rows in drawn.values():
            random_doses.update(row["strength"] for row in rows)
        random_effects = self.list_random_effects(measure)
        effects = []
        for (direction, _), rows in chosen.items():
            changes = self._compute_changes(rows, measure)
            described = self._describe(find_effect(changes), direction, measure)
            if random_effects:
                comparable = {dose: changes[dose] for dose in changes if dose in random_doses}
                described |= _compare(find_effect(comparable), random_effects)
            effects.append(described)
        return effects

    def list_random_effects(self, measure: str) -> list[Row]:
        """Return the largest effect of each random direction on a measure."""
        effects = []
        for (direction, draw), rows in self._group(measure, is_random=True).items():
            effect = find_effect(self._compute_changes(rows, measure))
            row = {"model": self.unsteered["model"], "direction": direction, "draw": draw}
            row |= {"measure": measure, "strength": effect.strength, "effect": effect.change}
            effects.append(row)
        return effects

    def _group(self, measure: str, is_random: bool) -> dict[tuple[str, int | None], list[Row]]:
        """Group the rows with a measure by direction and draw."""
        groups: dict[tuple[str, int | None], list[Row]] = {}
        for row in self.rows:
            if measure in row and ("draw" in row) == is_random:
                groups.setdefault((row["direction"], row.get("draw")), []).append(row)
        return groups

    def _compute_changes(self, rows: Sequence[Row], measure: str) -> dict[float, float]:
        """Return the change at each dose; of the rate, at each coherent one."""
        changes = {}
        for row in rows:
            has_text = measure == RATE[0]
            if not has_text or row[NLL] <= self.unsteered[NLL] + self.coherent:
                changes[row["strength"]] = row[measure] - self.unsteered[measure]
        return changes

    def _describe(self, effect: Effect, direction: str, measure: str) -> Row:
        return {
            "model": self.unsteered["model"],
            "direction": direction,
            "measure": measure,
            "unsteered": self.unsteered[measure],
            "strength": effect.strength,
            "effect": effect.change,
            "other sign": effect.opposite,
        }


def list_effects(rows: Sequence[Row], coherent: float) -> tuple[list[Row], list[Row]]:
    """Find for each model, measure and direction the dose of either sign that changes most.

    Args:
        rows: What was measured; the row of strength 0 is the model without an edit.
        coherent: Largest rise of the answers' negative log-likelihood at which a dose counts for
            the rate, in nats per token.

    Returns:
        The effects of the chosen directions, and of the random ones.
    """
    effects = []
    random_effects = []
    without_edit = [row for row in rows if not row["strength"]]
    for unsteered in without_edit:
        model = unsteered["model"]
        steered = [row for row in rows if row["model"] == model and row["strength"]]
        doses = ModelDoses(unsteered, steered, coherent)
        for measure, _, _ in (CONTRAST, RATE):
            effects += doses.list_effects(measure)
            random_effects += doses.list_random_effects(measure)
    return effects, random_effects


def summarise_draws(rows: Sequence[Row]) -> list[Row]:
    """Return the mean of each measure over the random directions of a kind, and its extremes."""
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        if "draw" in row:
            key = (row["model"], row["direction"], row["strength"])
            groups.setdefault(key, []).append(row)
    summaries = []
    for (model, direction, strength), own in groups.items():
        summary: Row = {"model": model, "direction": direction, "strength": strength}
        for measure, low, high in (CONTRAST, RATE):
            values = [row[measure] for row in own if measure in row]
            if values:
                summary[measure] = float(np.mean(values))
                summary[low] = min(values)
                summary[high] = max(values)
        summaries.append(summary)
    return summaries


def make_scalars(rows: Sequence[Row], effects: Sequence[Row], direction: str) -> dict[str, float]:
    """Return the figures of one direction, for each model.

    Args:
        rows: What was measured.
        effects: What `list_effects` returned.
        direction: Name of the direction.
    """
    scalars: dict[str, float] = {}
    for effect in effects:
        if effect["direction"] != direction:
            continue
        model = effect["model"]
        measure = effect["measure"]
        scalars[f"{measure}/{model}"] = effect["unsteered"]
        scalars[f"{measure}_effect/{model}"] = effect["effect"]
        if "p" in effect:
            scalars[f"{measure}_margin/{model}"] = effect["margin"]
            scalars[f"{measure}_p/{model}"] = effect["p"]
        if measure != RATE[0]:
            scalars[f"{measure}_strength/{model}"] = effect["strength"]
            continue
        scalars[f"rate_steered/{model}"] = effect["unsteered"] + effect["effect"]
        scalars[f"strength/{model}"] = effect["strength"]
        own = [row for row in rows if (row["model"], row["direction"]) == (model, direction)]
        nll = {row["strength"]: row[NLL] for row in own}
        scalars[f"nll_rise/{model}"] = nll[effect["strength"]] - nll[0.0]
    return scalars


def _compare(effect: Effect, random_effects: Sequence[Row]) -> Row:
    """Return an effect beside those of random directions, at the doses of these."""
    by_kind: dict[str, list[float]] = {}
    for row in random_effects:
        by_kind.setdefault(row["direction"], []).append(row["effect"])
    compared = compare_with_random(effect.change, [row["effect"] for row in random_effects])
    averages = {
        kind: compare_with_random(effect.change, changes).average
        for kind, changes in by_kind.items()
    }
    return averages | {
        "random, 95 %": compared.high,
        "margin": compared.margin,
        "p": compared.p,
        "random directions": compared.n,
    }
