"""The kernels by torch's own `embedding_bag`, which goes over contiguous rows; for the CPU, and anything without triton."""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


def bag(ids: Tensor, starts: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """Σ_e weights_e · table[ids_e] over each bag's entries e, [n_bags, width].

    Args:
        ids: a row of `table` for each entry, [nnz]; the entries of a bag stand together.
        starts: where each bag begins, and where the last one ends, [n_bags + 1].
        weights: [nnz].
        table: [n_rows, width].
    """
    return embedding_bag(ids, table, starts, mode="sum", per_sample_weights=weights, include_last_offset=True)


def dots(ids: Tensor, starts: Tensor, bags: Tensor, acts: Tensor, table: Tensor) -> Tensor:
    """⟨acts[bags_e], table[ids_e]⟩ for each entry e, [nnz].

    `bags` [nnz] is the bag of each entry, `acts` is [n_bags, width], the others are as above.
    """
    acts = acts.contiguous()
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(acts, table, ids, starts[:-1], bags, 0)
