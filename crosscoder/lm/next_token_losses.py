"""Cross-entropy and KL of next-token predictions, over the vocabulary in blocks.

    log Z = log Σ_v exp z_v                                of logits z, added up over the blocks
    cross-entropy = log Z − z_target
    KL(p ‖ q) = Σ_v p_v (z_v − w_v) − log Z_z + log Z_w    of logits z and w

The table [tokens, vocabulary] of all tokens would not fit in memory. In chunks of tokens, the whole
unembedding would be read for each chunk; here it is read once, and a block of logits stays in the
processor's cache.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from crosscoder.lm.head import get_head, get_logits
from crosscoder.lm.loading.checks import require_logits
from crosscoder.lm.types import PreTrainedModel

LOGITS_PER_BLOCK = 2**21
"""Logits that are in memory together, 8 MB in float32."""

Losses = Float[Tensor, "tokens"]


class Comparison(NamedTuple):
    """Losses of two passes at every token, in nats: cross-entropies, and KL(clean ‖ edited)."""

    clean: Losses
    edited: Losses
    kl: Losses


@torch.no_grad()
def compare_predictions(
    model: PreTrainedModel,
    clean: Float[Tensor, "tokens d_model"],
    edited: Float[Tensor, "tokens d_model"],
    targets: Int[Tensor, "tokens"],
) -> Comparison:
    """Compare the predictions of two passes.

    Args:
        model: The language model.
        clean: Final hidden states of a pass.
        edited: Those of another pass over the same tokens.
        targets: The next tokens.

    Raises:
        NotApplicable: The model computes its own logits in another way.
    """
    shape = (2, len(targets))
    log_z = torch.full(shape, -torch.inf, device=clean.device)
    picked = torch.zeros(shape, device=clean.device)
    # Σ_v p_v (z_v − w_v) of the blocks so far, whose probabilities p sum to 1
    gap = torch.zeros(len(targets), device=clean.device)
    for block in _iterate_blocks(model, torch.cat([clean, edited])):
        logits = block.logits.unflatten(0, shape)
        before = log_z
        log_z = torch.logaddexp(before, logits.logsumexp(-1))
        p = (logits[0] - log_z[0, :, None]).exp_()
        gap = gap * (before[0] - log_z[0]).exp() + (p * (logits[0] - logits[1])).sum(-1)
        chosen = block.find(targets)
        picked[:, chosen] = logits[:, chosen, targets[chosen] - block.first]
    losses = (log_z - picked).double().cpu()
    kl = (gap - log_z[0] + log_z[1]).double().cpu()
    return Comparison(losses[0], losses[1], kl)


@torch.no_grad()
def compute_cross_entropies(
    model: PreTrainedModel,
    hidden: Float[Tensor, "tokens d_model"],
    targets: Int[Tensor, "tokens"],
) -> Losses:
    """Return the cross-entropy at every token, in nats.

    What is equal is computed once: an ablation leaves nothing of a token but its position.

    Args:
        model: The language model.
        hidden: Final hidden states.
        targets: The next tokens.

    Raises:
        NotApplicable: The model computes its own logits in another way.
    """
    states, index = hidden.unique(dim=0, return_inverse=True)
    log_z = torch.full((len(states),), -torch.inf, device=hidden.device)
    picked = torch.zeros(len(targets), device=hidden.device)
    for block in _iterate_blocks(model, states):
        log_z = torch.logaddexp(log_z, block.logits.logsumexp(-1))
        chosen = block.find(targets)
        picked[chosen] = block.logits[index[chosen], targets[chosen] - block.first]
    return (log_z[index] - picked).double().cpu()


class _Block(NamedTuple):
    """Logits of consecutive tokens of the vocabulary, and the id of the first of them."""

    first: int
    logits: Float[Tensor, "states block"]

    def find(self, targets: Int[Tensor, "tokens"]) -> Int[Tensor, "found"]:
        """Return the indices of the targets that are in this block."""
        is_here = (targets >= self.first) & (targets < self.first + self.logits.shape[1])
        return is_here.nonzero()[:, 0]


def _iterate_blocks(
    model: PreTrainedModel, states: Float[Tensor, "states d_model"]
) -> Iterator[_Block]:
    """Yield the logits of some states, block by block of the vocabulary."""
    require_logits(model)
    head = get_head(model)
    if type(head) is not nn.Linear:  # it has no part for a block
        yield _Block(0, get_logits(model, states))
        return
    size = max(1, LOGITS_PER_BLOCK // max(1, len(states)))
    for first in range(0, len(head.weight), size):
        yield _Block(first, get_logits(model, states, slice(first, first + size)))
