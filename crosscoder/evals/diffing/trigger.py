"""The AUROC with which evidence tells prompts that elicit a behaviour from others.

    AUROC(piece)   P(score of a prompt in the framing > score of one in the control), ties ½
    found          rank of the first piece with AUROC > FOUND, from 1; None if there is none

A piece that is silent on all prompts has 0.5. The best of twenty pieces is above 0.5 by chance
alone, so the same is computed with shuffled labels:

    chance AUROC   mean over shuffles of the largest AUROC of the method's pieces
    chance found   fraction of the shuffles in which some piece has AUROC > FOUND
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from crosscoder.behaviours.auroc import compute_aurocs

FOUND = 0.9


@dataclass(frozen=True)
class TriggerScores:
    """AUROCs of a method's pieces.

    Args:
        aurocs: One for each piece, in the order of the rank.
        chance_auroc: Mean over shuffles of the largest one; NaN without pieces.
        chance_found: Fraction of the shuffles in which a piece is found.
    """

    aurocs: Float[np.ndarray, "pieces"]
    chance_auroc: float
    chance_found: float

    @property
    def found_rank(self) -> int | None:
        """Rank of the first piece with AUROC > FOUND, from 1; None if there is none."""
        places = np.flatnonzero(self.aurocs > FOUND)
        return int(places[0]) + 1 if len(places) else None

    @property
    def best(self) -> float:
        """The largest AUROC; NaN without pieces."""
        return float(self.aurocs.max()) if len(self.aurocs) else float("nan")


def score_trigger(
    scores: Float[np.ndarray, "pieces prompts"],
    is_framing: Bool[np.ndarray, "prompts"],
    n_shuffles: int,
    seed: int,
) -> TriggerScores:
    """Compute the AUROCs of one method.

    Args:
        scores: Scores of held-out prompts by its pieces, in the order of the rank.
        is_framing: Which prompts elicit the behaviour.
        n_shuffles: Number of shuffles of these labels.
        seed: Random seed of the shuffles.
    """
    if not len(scores):
        return TriggerScores(np.zeros(0), float("nan"), 0.0)
    generator = np.random.default_rng(seed)
    shuffled = np.stack([generator.permutation(is_framing) for _ in range(n_shuffles)])
    largest = compute_aurocs(scores, shuffled).max(1)
    return TriggerScores(
        compute_aurocs(scores, is_framing[None])[0],
        float(largest.mean()),
        float((largest > FOUND).mean()),
    )
