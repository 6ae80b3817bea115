"""Verdict on a latent, from its decoders and from the data.

A latent is a *candidate* for a source if the other source's supported norm (see scaling.py) is very
small compared with its own. A candidate's direction may still be in the other model: then it is an
artefact of training, not a difference of models (Minder et al. 2025). A latent that both sources
support may still write different things into them.

    <source>-specific   a candidate whose direction is neither in the other source's error (ν^ε)
                        nor in its reconstruction (ν^r)
    shrunk              a candidate whose direction is in the other's error: Complete Shrinkage
    decoupled           a candidate whose direction is in the other's reconstruction where the
                        latent is active, or that another latent writes into the other model
                        on other tokens: Latent Decoupling
    rewritten           supported in both, decoders far apart: one trigger, two effects
    shared              supported in both, decoders alike
    undetermined        too few tokens, an interval that contains a threshold, decoders that the
                        data do not support, or decoders that are apart while one is weak
    dead                never active

Intervals: 95 %, bootstrapped over blocks of tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from crosscoder.analysis.base import ColumnNeeds, ComputedColumn, TableContext
from crosscoder.analysis.rule import VerdictRule

COMMON_CLASSES = ("shared", "rewritten", "shrunk", "decoupled", "undetermined", "dead")


@dataclass(frozen=True)
class Verdict(ComputedColumn):
    """Column `verdict`; its thresholds are the analysis's `rule`."""

    needs: ClassVar[ColumnNeeds] = ColumnNeeds(
        comparable_pair=True, columns=("activity", "norms", "scaling", "twins")
    )

    def compute(self, context: TableContext, table: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"verdict": judge_latents(context.rule, table, *context.diff_pair)}


def judge_latents(
    rule: VerdictRule, table: Mapping[str, Any], first: str, second: str
) -> np.ndarray:
    """Return the verdict on every latent.

    Args:
        rule: Thresholds.
        table: Columns of activity, norms, scaling and twins.
        first: First source of the compared pair.
        second: Second source of the pair.
    """
    n_latents = len(table["n_active"])
    verdict = np.full(n_latents, "undetermined", dtype=object)
    in_both = np.ones(n_latents, dtype=bool)
    is_weak = np.zeros(n_latents, dtype=bool)
    has_cross_latent = table["max_cross_cosine"] > rule.max_cross_cosine
    for own, other in ((first, second), (second, first)):
        own_norm = table[f"supported/{own}"]
        other_norm = table[f"supported/{other}"]
        has_tiny_other = other_norm < rule.candidate * own_norm
        is_supported = own_norm > rule.supported * table[f"norm/{own}"]
        in_both &= ~has_tiny_other & ((own_norm < other_norm) | is_supported)
        is_weak |= other_norm < rule.weak * own_norm

        is_candidate = has_tiny_other & is_supported
        absent_in_error, present_in_error = _compare_nu(table, "error", own, rule.nu_error)
        absent_in_recon, present_in_recon = _compare_nu(
            table, "reconstruction", own, rule.nu_reconstruction
        )
        # later lines overrule earlier ones
        verdict[is_candidate & absent_in_error & absent_in_recon] = f"{own}-specific"
        verdict[is_candidate & (present_in_recon | has_cross_latent)] = "decoupled"
        verdict[is_candidate & present_in_error] = "shrunk"
    is_alike = table["cosine"] > rule.apart
    verdict[in_both & is_alike] = "shared"
    verdict[in_both & ~is_alike & ~is_weak] = "rewritten"
    verdict[table["n_active"] < rule.n_active] = "undetermined"
    verdict[table["n_active"] == 0] = "dead"
    return verdict


def _compare_nu(
    table: Mapping[str, Any], target: str, source: str, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the interval of ν lies below the threshold, and whether it lies above."""
    low = table[f"nu/{target}/{source}/low"]
    high = table[f"nu/{target}/{source}/high"]
    return high < threshold, low > threshold


def count_verdicts(verdicts: np.ndarray, diff_pair: Sequence[str]) -> dict[str, int]:
    """Count the latents of each class, including classes without any."""
    names = [*(f"{source}-specific" for source in diff_pair), *COMMON_CLASSES]
    return {name: int((verdicts == name).sum()) for name in names}
