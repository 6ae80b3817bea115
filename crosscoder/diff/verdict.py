"""What a latent is, judged by its decoders and by what the data say about them.

A latent is a *candidate* for a source if the other source's supported norm (see scaling.py) is next to nothing beside its
own. A candidate's direction may still be in the other model: then it is an artefact of training, not a difference of models
(Minder et al. 2025). A latent that both sources support may still write different things into them.

    <source>-specific   candidate, and its direction is neither in the other's error (ν^ε) nor in its reconstruction (ν^r)
    shrunk              candidate, but the other's error has it: Complete Shrinkage
    decoupled           candidate, but the other's reconstruction has it where the latent is active, or another latent writes
                        it into the other model elsewhere: Latent Decoupling
    rewritten           supported in both, decoders apart: the same trigger writes something else
    shared              supported in both, decoders alike
    undetermined        too few tokens, an interval that contains a threshold, decoders that the data do not support, or that
                        are apart while one is weak
    dead                never active

Interval: 95 %, bootstrapped over blocks of tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CLASSES = ("shared", "rewritten", "shrunk", "decoupled", "undetermined", "dead")


def count(verdicts: np.ndarray, contrast: Sequence[str]) -> dict[str, int]:
    """How many latents are of each class, also where there are none."""
    return {name: int((verdicts == name).sum()) for name in (*(f"{source}-specific" for source in contrast), *CLASSES)}


@dataclass(frozen=True)
class Rule:
    """Thresholds of the verdict.

    Args:
        candidate: largest ratio of supported norms, the other source's to its own, of a candidate; 0.05 is R > 0.95.
        weak: largest such ratio of a weak decoder, which is too little to say that it writes something else.
        elsewhere: smallest cosine of its decoder with another latent's in the other source, of a decoupled latent.
        nu_error, nu_reconstruction: largest ν of a specific latent; the defaults are Minder et al. 2025's.
        apart: largest cosine of the decoders of a rewritten latent.
        supported: smallest part of a decoder's norm, in the source that writes more, that the data must support.
        n_active: fewest tokens a latent must be active on.
    """

    candidate: float = 0.05
    weak: float = 0.2
    nu_error: float = 0.2
    nu_reconstruction: float = 0.5
    elsewhere: float = 0.9
    apart: float = 0.5
    supported: float = 0.25
    n_active: int = 10

    def __call__(self, table: Mapping[str, Any], first: str, second: str) -> np.ndarray:
        """The verdict of every latent, from the columns of activity, norms and scaling."""
        verdict = np.full(len(table["n_active"]), "undetermined", dtype=object)
        both, weak = np.ones(len(verdict), dtype=bool), np.zeros(len(verdict), dtype=bool)
        for own, other in ((first, second), (second, first)):
            has, lacks = table[f"supported/{own}"], table[f"supported/{other}"]
            candidate = lacks < self.candidate * has
            stands = has > self.supported * table[f"norm/{own}"]
            error, reconstruction = (self._sides(table, target, own) for target in ("error", "reconstruction"))
            both &= ~candidate & ((has < lacks) | stands)
            weak |= lacks < self.weak * has
            candidate &= stands
            verdict[candidate & error[0] & reconstruction[0]] = f"{own}-specific"
            verdict[candidate & (reconstruction[1] | (table["elsewhere"] > self.elsewhere))] = "decoupled"
            verdict[candidate & error[1]] = "shrunk"
        alike = table["cosine"] > self.apart
        verdict[both & alike] = "shared"
        verdict[both & ~alike & ~weak] = "rewritten"
        verdict[table["n_active"] < self.n_active] = "undetermined"
        verdict[table["n_active"] == 0] = "dead"
        return verdict

    def _sides(self, table: Mapping[str, Any], target: str, source: str) -> tuple[np.ndarray, np.ndarray]:
        """Whether ν is surely below its threshold, and whether it is surely above."""
        threshold = self.nu_error if target == "error" else self.nu_reconstruction
        low, high = (table[f"nu/{target}/{source}/{end}"] for end in ("low", "high"))
        return high < threshold, low > threshold
