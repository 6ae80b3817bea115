"""Kernels built on torch's `embedding_bag`, for the CPU and for any device without triton.

`embedding_bag` reads contiguous rows.
"""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


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
