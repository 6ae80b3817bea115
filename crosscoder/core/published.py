"""Published thresholds on ratios of decoder norms, for exclusive and for shared latents.

Sources: Minder et al. 2025; Lindsey et al. 2024; Kissane et al. 2024; arXiv 2602.11729;
Mishra-Sharma et al. 2025.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from crosscoder.core.metrics import delta_norm, relative_norm

SYMBOLS = {"delta_norm": "Δ", "relative_norm": "R"}
FIRST, SECOND, SHARED = "first-only", "second-only", "shared"
# how `counts_by_rule` writes the calls
COUNT_NAMES = {FIRST: "chat-only", SECOND: "base-only", SHARED: "shared"}


@dataclass(frozen=True)
class PublishedRule:
    """Thresholds of one paper on one score.

    Args:
        paper: Citation.
        score: `delta_norm` or `relative_norm`; both are 1 for the first source alone, 0 for the
            second alone.
        exclusive: Threshold of latents of the first source; mirrored for the second.
        shared: Largest distance from ½ of a shared latent; None if the paper does not define any.
        counted: The calls that `counts_by_rule` reports, each with the citation it shows.
    """

    paper: str
    score: str
    exclusive: float
    shared: float | None
    counted: Mapping[str, str]

    def describe(self) -> str:
        """Describe the rule, e.g. `Δ > 0.9, Minder et al. 2025`."""
        return f"{SYMBOLS[self.score]} > {self.exclusive}, {self.paper}"

    def describe_call(self, call: str) -> str:
        """Describe one of the counted calls, e.g. `base-only, Δ < 0.1 (Minder 2025)`."""
        symbol = SYMBOLS[self.score]
        if call == FIRST:
            condition = f"{symbol} > {self.exclusive:g}"
        elif call == SECOND:
            condition = f"{symbol} < {1 - self.exclusive:.2g}"
        else:
            low, high = self._shared_interval()
            condition = f"{low:.2g} < {symbol} < {high:.2g}"
        return f"{COUNT_NAMES[call]}, {condition} ({self.counted[call]})"

    def select(self, scores: Any, call: str, inclusive: bool = False) -> Any:
        """Return which latents the rule calls so.

        Args:
            scores: Score of each latent, an array or a tensor.
            call: FIRST, SECOND or SHARED.
            inclusive: Count latents exactly on a threshold.
        """
        if call == SHARED:
            low, high = self._shared_interval()
            if inclusive:
                return (scores >= low) & (scores <= high)
            # the distance from ½ and the interval's ends round differently
            return abs(scores - 0.5) < self.shared
        if call == FIRST:
            return scores >= self.exclusive if inclusive else scores > self.exclusive
        mirrored = 1 - self.exclusive
        return scores <= mirrored if inclusive else scores < mirrored

    def _shared_interval(self) -> tuple[float, float]:
        assert self.shared is not None
        return 0.5 - self.shared, 0.5 + self.shared

    def categories(self, scores: np.ndarray, first: str, second: str) -> np.ndarray:
        """Return `<first>-only`, `<second>-only`, `shared` or `other` for every latent."""
        names = {FIRST: f"{first}-only", SECOND: f"{second}-only"}
        if self.shared is not None:
            names[SHARED] = "shared"
        selected = [self.select(scores, call) for call in names]
        return np.select(selected, list(names.values()), "other")


PUBLISHED = {
    "minder2025": PublishedRule(
        "Minder et al. 2025",
        "delta_norm",
        exclusive=0.9,
        shared=0.1,
        counted={FIRST: "Minder 2025", SECOND: "Minder 2025", SHARED: "Minder 2025"},
    ),
    "lindsey2024": PublishedRule(
        "Lindsey et al. 2024, Kissane et al. 2024",
        "relative_norm",
        exclusive=0.7,
        shared=0.2,
        counted={SHARED: "Lindsey, Kissane 2024", FIRST: "Kissane 2024", SECOND: "Kissane 2024"},
    ),
    "dfc2026": PublishedRule(
        "arXiv 2602.11729, toy",
        "relative_norm",
        exclusive=0.8,
        shared=0.3,
        counted={FIRST: "arXiv 2602.11729, toy"},
    ),
    "mishra_sharma2025": PublishedRule(
        "Mishra-Sharma et al. 2025",
        "relative_norm",
        exclusive=0.95,
        shared=None,
        counted={FIRST: "Mishra-Sharma 2025", SECOND: "Mishra-Sharma 2025"},
    ),
}


def counts_by_rule(chat: Tensor, base: Tensor, alive: Tensor) -> dict[str, int]:
    """Count the live latents of every published call.

    Args:
        chat: Decoder norms of the first source in training units, [n_latents].
        base: Decoder norms of the second source.
        alive: Latents that count.
    """
    scores = {"relative_norm": relative_norm(chat, base), "delta_norm": delta_norm(chat, base)}
    counts = {}
    for rule in PUBLISHED.values():
        for call in rule.counted:
            is_called = rule.select(scores[rule.score], call, inclusive=True)
            counts[rule.describe_call(call)] = int((is_called & alive).sum())
    return counts
