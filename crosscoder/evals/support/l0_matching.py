"""Make a dictionary sparser, so that two can be compared at the same number of active latents."""

import torch

from crosscoder.analysis.base import encode_store
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.model import Crosscoder
from crosscoder.data import Store


@torch.no_grad()
def truncate_to_l0(crosscoder: Crosscoder, l0: float, store: Store) -> Crosscoder:
    """Return the same dictionary with fewer active latents.

    One threshold on f · Σ_s ‖d^s‖ keeps the l0 · n_tokens largest active entries.

    Args:
        crosscoder: A folded crosscoder.
        l0: Active latents per token afterwards. If it is not below the crosscoder's own L0, the
            crosscoder is returned as it is.
        store: Activations on which L0 is measured.
    """
    norms = crosscoder.decoder_norms().sum(0)
    scores_by_batch = []
    n_tokens = 0
    for batch in encode_store(crosscoder, store):
        scores_by_batch.append((batch.code.values * norms[batch.code.index.latents]).cpu())
        n_tokens += len(batch)
    scores = torch.cat(scores_by_batch)
    n_keep = round(l0 * n_tokens)
    if n_keep >= len(scores):
        return crosscoder
    cutoff = scores.kthvalue(len(scores) - n_keep).values.to(norms)
    threshold = cutoff / norms.clamp(min=1e-30)
    if isinstance(crosscoder.activation, JumpReLU):
        threshold = torch.maximum(threshold, crosscoder.activation.threshold)
    return crosscoder.replace(activation=JumpReLU.from_threshold(threshold))
