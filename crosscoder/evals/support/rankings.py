"""Rankings of latents for ablation, each from columns of the LatentTable alone.

c_j is the column of a PromptContrast: how much more active latent j is on the first kind of
prompts.

    changed by framing   |c_j| · ‖d_j^chat − d_j^base‖: how differently the models treat the two
                         kinds through the latent
    candidates           the same order, but rewritten and specific latents with c_j > 0 that are
                         not dense come first
    decoder norm         ‖d_j^chat‖, no labels
    random               any live latents

A latent with c_j < 0 is silent on the prompts whose treatment is to change. A latent that is active
on a tenth of all tokens is about more than these prompts.
"""

from collections.abc import Callable

import numpy as np

from crosscoder.analysis.table import LatentTable

DENSE = 0.1
SIGNIFICANT = 0.05
Ranking = Callable[[LatentTable, str, int], np.ndarray]


def framing_weight(table: LatentTable, contrast: str) -> np.ndarray:
    """Return |c_j| · ‖d_j^chat − d_j^base‖, [rows]."""
    return np.abs(table[contrast]) * table["difference_norm"]


def qualify(table: LatentTable, contrast: str) -> np.ndarray:
    """Select the latents that can carry a change of behaviour, [rows].

    They are rewritten or specific, sparse, and significantly more active on the first kind of
    prompts.
    """
    frame = table.frame
    first, second = table.meta["contrast"]
    is_changed = frame["verdict"].isin(["rewritten", f"{first}-specific", f"{second}-specific"])
    is_positive = frame[contrast] > 0
    is_significant = frame[f"{contrast}/holm"] < SIGNIFICANT
    is_sparse = frame["density"] < DENSE
    return np.asarray(is_changed & is_positive & is_significant & is_sparse)


def rank_candidates(table: LatentTable, contrast: str, seed: int = 0) -> np.ndarray:
    """Rank the live latents: those that qualify, then others with c_j > 0, then the rest."""
    weight = framing_weight(table, contrast)
    tier = 2.0 * qualify(table, contrast) + (table[contrast] > 0)
    order = np.lexsort((-weight, -tier))
    is_alive = ~table["dead"]
    return table["latent"][order[is_alive[order]]]


def rank_by_framing(table: LatentTable, contrast: str, seed: int = 0) -> np.ndarray:
    """Rank the live latents by how differently the models treat the two kinds of prompts."""
    return _rank_by(table, framing_weight(table, contrast))


def rank_by_decoder_norm(table: LatentTable, contrast: str, seed: int = 0) -> np.ndarray:
    """Rank the live latents by the norm of their decoder in the finetuned model."""
    first = table.meta["contrast"][0]
    return _rank_by(table, table[f"norm/{first}"])


def rank_at_random(table: LatentTable, contrast: str, seed: int = 0) -> np.ndarray:
    """Shuffle the live latents."""
    return np.random.default_rng(seed).permutation(table.query("not dead")["latent"])


RANKINGS: dict[str, Ranking] = {
    "candidates": rank_candidates,
    "changed by framing": rank_by_framing,
    "decoder norm": rank_by_decoder_norm,
    "random": rank_at_random,
}


def _rank_by(table: LatentTable, weight: np.ndarray) -> np.ndarray:
    """Rank the live latents by descending weight."""
    is_alive = ~table["dead"]
    order = np.argsort(-weight, kind="stable")
    return table["latent"][order[is_alive[order]]]
