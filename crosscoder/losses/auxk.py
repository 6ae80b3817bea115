"""Auxiliary loss that revives dead latents (AuxK). Gao et al. 2024, App. A.2.

Dead latents have to explain the error that the others left:

    e = x − x̂ (detached),   ê = the k_aux dead latents with the largest v on each token, decoded
                                 without bias
    L = E‖e − ê‖² / E‖e − ē‖²

The normalisation is that of the released BatchTopK crosscoder (Minder et al. 2025).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from crosscoder.core.requirements import Requirements
from crosscoder.core.sparse import product
from crosscoder.distributed import Parallel
from crosscoder.losses.base import LossContext
from crosscoder.values import require_number


@dataclass(frozen=True)
class AuxK:
    """Error of the residual's reconstruction by dead latents, as a fraction of its variance.

    k_aux is half of a source's width (Gao et al. App. B.1, where d is the width of the model, not
    of the concatenation).
    """

    requirements: ClassVar[Requirements] = Requirements(supports_latent_sharding=True)
    weight: float = 1 / 32

    def __post_init__(self) -> None:
        require_number("loss.auxk.weight", self.weight, least=0)

    def __call__(self, ctx: LossContext) -> Tensor:
        dead = ctx.dead.nonzero()[:, 0]
        n_dead = ctx.parallel.sum_over_latent_shards(len(dead))
        if n_dead == 0:
            return ctx.acts.new_zeros(())
        crosscoder = ctx.crosscoder
        error = (ctx.acts - ctx.output.recon).detach()
        pre = ctx.output.pre(dead).relu()
        k_aux = min(max(crosscoder.sources.widths) // 2, n_dead)
        if k_aux < n_dead:
            scores = (pre * crosscoder.selection_scale[dead]).detach()
            pre = pre * _is_among_largest(scores, k_aux, ctx.parallel)
        W_dec = crosscoder.W_dec.index_select(0, dead)
        explained = ctx.parallel.all_reduce_sum(product(pre, W_dec, crosscoder.product_dtype))
        unexplained = ctx.mean((error - explained).square().sum(-1))
        variance = ctx.mean((error - ctx.mean(error, 0)).square().sum(-1))
        # a batch of one token, or of equal tokens, has no variance to explain
        return unexplained / variance.where(variance > 0, torch.inf)


def _is_among_largest(scores: Tensor, k: int, parallel: Parallel) -> Tensor:
    """Return which scores [batch, m] are among each token's k largest of all processes' latents."""
    local_largest = scores.topk(min(k, scores.shape[1]), dim=-1).values
    largest = parallel.gather_latents(local_largest)
    threshold = largest.topk(k, dim=-1).values[:, -1:]
    return scores >= threshold
