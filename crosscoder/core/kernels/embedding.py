"""Kernels made of torch's operations, for any device.

Sums are those of `embedding_bag`, which reads contiguous rows.
"""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from crosscoder.core.kernels.positions import find_positions

# scores held at once: what fits a core's cache, or what a GPU's memory does not notice
BLOCK = {"cpu": 2**20, "cuda": 2**26}
DEFAULT_BLOCK = 2**24


def bag(ids: Tensor, starts: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """Return Σ_e weights_e · table[ids_e] over each bag's entries e, [n_bags, width].

    Args:
        ids: Row of `table` for each entry, [nnz]; the entries of a bag are contiguous.
        starts: Offset of each bag, and the end of the last one, [n_bags + 1].
        weights: Weight of each entry, [nnz].
        table: Rows to add up, [n_rows, width].
    """
    return embedding_bag(
        ids, table, starts, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def dots(ids: Tensor, starts: Tensor, bags: Tensor, acts: Tensor, table: Tensor) -> Tensor:
    """Return ⟨acts[bags_e], table[ids_e]⟩ for each entry e, [nnz].

    `bags` [nnz] is the bag of each entry, `acts` is [n_bags, width]; the others are as in `bag`.
    """
    acts = acts.contiguous()
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(
        acts, table, ids, starts[:-1], bags, 0
    )


def list_above(pre: Tensor, scale: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, latents and scores of the entries with pre · scale > bound, by rising position.

    Args:
        pre: Pre-activations [n_tokens, n_latents].
        scale: Factor of each latent, [n_latents].
        bounds: Bound of each token, [n_tokens].
    """
    n_tokens, n_latents = pre.shape
    block = BLOCK.get(pre.device.type, DEFAULT_BLOCK)
    n_rows = max(1, min(n_tokens, block // n_latents))
    dtype = torch.promote_types(pre.dtype, scale.dtype)
    # both buffers are reused for every block
    scores_buffer = torch.empty(n_rows, n_latents, dtype=dtype, device=pre.device)
    mask_buffer = torch.empty(n_rows, n_latents, dtype=torch.bool, device=pre.device)
    found = [pre.new_empty(0, dtype=torch.int64)]
    scores = [scores_buffer.new_empty(0)]
    for start in range(0, n_tokens, n_rows):
        rows = pre[start : start + n_rows]
        block_scores = scores_buffer[: len(rows)]
        block_mask = mask_buffer[: len(rows)]
        torch.mul(rows, scale, out=block_scores)
        torch.gt(block_scores, bounds[start : start + n_rows, None], out=block_mask)
        active = find_positions(block_mask)
        found.append(active + start * n_latents)
        scores.append(scores_buffer.view(-1)[active])
    positions = torch.cat(found)
    return positions // n_latents, positions % n_latents, torch.cat(scores)
