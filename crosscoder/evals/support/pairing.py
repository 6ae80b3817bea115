"""Latents of a crosscoder and of another one that was trained with another seed."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from crosscoder.analysis.matching.decoders import match_one_to_one
from crosscoder.analysis.matching.subspaces import compute_chance, compute_overlap, find_span
from crosscoder.analysis.table import LatentTable
from crosscoder.core.model import Crosscoder

# whole numbers in a comparison of subspaces
COUNTS = ("unmatched here", "unmatched there", "dimensions here", "dimensions there")
Mask = Bool[np.ndarray, "n_latents"]


@dataclass(frozen=True)
class Side:
    """A crosscoder with its table of latents, on the same tokens as the other side's."""

    crosscoder: Crosscoder
    table: LatentTable

    @property
    def directions(self) -> Float[Tensor, "n_latents d_total"]:
        """Return the decoders of all sources side by side, in training units."""
        return self.crosscoder.W_dec.detach() / self.crosscoder.scale

    def select_classes(self) -> dict[str, Mask]:
        """Return which latents belong to a class, for all live ones and for each verdict."""
        alive = ~self.table["dead"]
        classes = {"all": alive}
        if "verdict" in self.table.columns:
            for name in sorted(set(self.table["verdict"]) - {"dead"}):
                classes[name] = (self.table["verdict"] == name) & alive
        return classes


@dataclass(frozen=True)
class Pairing:
    """One-to-one partners of the latents of two crosscoders.

    Args:
        own: The crosscoder that is evaluated.
        other: Another one.
        found: Cosine above which a latent is found again.
        cosines: Cosine of each own latent with its partner, 0 without one.
        partners: Its partner, -1 without one.
    """

    own: Side
    other: Side
    found: float
    cosines: Float[np.ndarray, "n_latents"]
    partners: np.ndarray

    @classmethod
    def match(cls, own: Side, other: Side, found: float) -> "Pairing":
        """Match two crosscoders so that the sum of the cosines is largest."""
        cosines, partners = match_one_to_one(own.directions, other.directions)
        return cls(own, other, found, cosines, partners)

    @property
    def is_unmatched(self) -> Mask:
        """Return which own latents are not found again."""
        return self.cosines <= self.found

    @property
    def is_unmatched_there(self) -> Mask:
        """Return which latents of the other crosscoder are not found here."""
        unmatched = np.ones(self.other.crosscoder.n_latents, dtype=bool)
        unmatched[self.partners[~self.is_unmatched]] = False
        return unmatched

    def compare_subspaces(
        self, name: str, energy: float, generator: np.random.Generator
    ) -> dict[str, float] | None:
        """Compare what the unmatched latents of a class span here and there.

        Args:
            name: Name of the class.
            energy: Fraction of their energy that the subspaces hold; see subspaces.py.
            generator: Draws the random latents.

        Returns:
            Numbers of latents and dimensions, the overlap, and two figures to compare it with: that
            of random subspaces, and that of as many random live latents of both crosscoders. None
            if there are no such latents here or there.
        """
        here = _find(self.own, name, self.is_unmatched)
        there = _find(self.other, name, self.is_unmatched_there)
        if not len(here) or not len(there):
            return None
        one = find_span(self.own.directions[here], energy)
        other = find_span(self.other.directions[there], energy)
        drawn = []
        for side, latents in ((self.own, here), (self.other, there)):
            chosen = generator.choice(_find(side, "all"), len(latents), replace=False)
            drawn.append(find_span(side.directions[torch.from_numpy(chosen)], energy))
        return {
            "unmatched here": len(here),
            "unmatched there": len(there),
            "dimensions here": len(one),
            "dimensions there": len(other),
            "cos²": compute_overlap(one, other),
            "cos² of random subspaces": compute_chance(one, other),
            "cos² of random latents": compute_overlap(*drawn),
        }


def _find(side: Side, name: str, mask: Mask | None = None) -> np.ndarray:
    """Return the latents of a class, of those in a mask."""
    classes = side.select_classes()
    members = classes.get(name, np.zeros(side.crosscoder.n_latents, dtype=bool))
    return np.flatnonzero(members if mask is None else members & mask)
