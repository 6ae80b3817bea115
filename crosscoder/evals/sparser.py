"""A dictionary made sparser, so that two can be compared at the same number of active latents."""

import torch

from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.data import Store
from crosscoder.diff.base import batches
from crosscoder.model import Crosscoder


@torch.no_grad()
def at_l0(crosscoder: Crosscoder, l0: float, store: Store) -> Crosscoder:
    """The same dictionary, sparser: of its active entries the l0 · n_tokens largest f · Σ_s ‖d^s‖, by one threshold.

    Args:
        crosscoder: a folded one.
        l0: active latents per token afterwards; one that is not lower than it has leaves it as it is.
        store: where it is measured.
    """
    norms = crosscoder.decoder_norms().sum(0)
    scores, n = [], 0
    for batch in batches(crosscoder, store):
        scores.append((batch.code.values * norms[batch.code.index.latents]).cpu())
        n += len(batch)
    score = torch.cat(scores)
    wanted = round(l0 * n)
    if wanted >= len(score):
        return crosscoder
    least = score.kthvalue(len(score) - wanted).values.to(norms)
    floor = least / norms.clamp(min=1e-30)
    if isinstance(crosscoder.activation, JumpReLU):
        floor = torch.maximum(floor, crosscoder.activation.threshold)
    return crosscoder.but(activation=JumpReLU.of(floor))
