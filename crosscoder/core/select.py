"""Selection of the active entries of pre-activations: per token, or over a batch.

Entries are compared by their score v_tj = relu(pre_tj) · scale_j. The scores are never written down
for all entries: only those above a lower bound are listed (crosscoder/core/kernels) and compared.
The bound is an estimate from a sample. If it was too high, a lower one follows, and finally zero,
so the selection is exact whatever the sample. Ties break by position: the lower row first, then the
lower latent.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from crosscoder import distributed
from crosscoder.core import kernels
from crosscoder.core.sparse import Index
from crosscoder.core.types import Dense, Entries, PerLatent


def select_above(pre: Dense, scale: PerLatent, bound: Tensor) -> tuple[Index, Entries]:
    """Return the entries with pre · scale > bound, and their scores.

    `bound` is one number, or one per row [batch].
    """
    backend = kernels.get_backend(pre.device.type)
    rows, latents, scores = backend.list_above(pre, scale, bound.expand(len(pre)))
    return Index(rows, latents, *pre.shape), scores


def select_topk(pre: Dense, scale: PerLatent, k: int) -> Index:
    """Return the k largest positive scores of each token."""
    k = min(k, pre.shape[1])
    bounds = _estimate_row_bounds(pre, scale, k)
    index, scores = select_above(pre, scale, bounds)
    is_short = index.counts < k
    if (is_short & (bounds > 0)).any():
        index, scores = select_above(pre, scale, bounds.masked_fill(is_short, 0))
    # candidates as a table: one row per token, columns in the order of the latents
    columns = torch.arange(len(scores), device=pre.device) - index.starts[index.rows]
    longest = int(index.counts.max()) if len(pre) else 0
    table = scores.new_zeros(len(pre), max(longest, k))
    table[index.rows, columns] = scores
    is_selected = torch.zeros_like(table, dtype=torch.bool)
    is_selected.scatter_(1, _largest_columns(table, k), True)
    return index[is_selected[index.rows, columns]]


def _largest_columns(table: Tensor, k: int) -> Tensor:
    """Return the columns of the k largest of each row, [rows, k]; the first of equal ones."""
    if k == table.shape[1]:
        return torch.arange(k, device=table.device).expand(len(table), k)
    values, columns = table.topk(k + 1, dim=1)
    is_tied = (values[:, k] == values[:, k - 1]) & (values[:, k] > 0)
    columns = columns[:, :k]
    if is_tied.any():
        in_order = table[is_tied].sort(dim=1, descending=True, stable=True).indices
        columns[is_tied] = in_order[:, :k]
    return columns


def _estimate_row_bounds(pre: Dense, scale: PerLatent, k: int) -> Tensor:
    """Return per row a score that more than k entries exceed, estimated from some of the latents.

    These are an eighth of them. The bound is 0 where that is too few for an estimate.
    """
    n_sample = pre.shape[1] // 8
    expected = k / 8
    rank = int(expected + 6 * expected**0.5) + 1  # six standard deviations
    if rank > n_sample:
        return torch.zeros(len(pre), dtype=scale.dtype, device=pre.device)
    sample = pre[:, :n_sample] * scale[:n_sample]
    return sample.topk(rank, dim=1).values[:, -1].clamp(min=0)


def select_batch_topk(
    pre: Dense, scale: PerLatent, k: int, parallel: distributed.Parallel = distributed.BY_TOKENS
) -> Index:
    """Return the k · batch largest positive scores over the batch of all processes.

    Bussmann et al. 2024.
    """
    n_total = pre.numel() * distributed.size()
    n_keep = min(k * parallel.count_tokens(len(pre)), n_total)
    keep_fraction = n_keep / max(n_total, 1)
    for slack in (1.5, 8.0, math.inf):
        bound = distributed.all_reduce_min(_estimate_bound(pre, scale, slack * keep_fraction))
        index, scores = select_above(pre, scale, bound)
        scores_by_rank = distributed.all_gather(scores)
        if sum(map(len, scores_by_rank)) >= n_keep or bound == 0:
            break
    candidates = torch.cat(scores_by_rank)
    if len(candidates) <= n_keep:
        return index
    threshold = find_kth_largest(candidates, n_keep)
    n_ties = n_keep - int((candidates > threshold).sum())
    is_selected = scores > threshold
    is_selected[_break_ties(scores_by_rank, threshold, n_ties)] = True
    return index[is_selected]


def _break_ties(scores_by_rank: Sequence[Tensor], threshold: Tensor, n_ties: int) -> Tensor:
    """Return which of the first `n_ties` entries that equal the threshold are this process's.

    Entries are in order of position, and those of lower ranks come first.
    """
    rank = distributed.rank()
    n_before = sum(int((scores == threshold).sum()) for scores in scores_by_rank[:rank])
    tied = (scores_by_rank[rank] == threshold).nonzero()[:, 0]
    return tied[: max(n_ties - n_before, 0)]


def _estimate_bound(
    pre: Dense, scale: PerLatent, fraction: float, n_rows: int = 64, n_latents: int = 1024
) -> Tensor:
    """Return a score, at least 0, that about this fraction of the entries exceeds.

    It is estimated from evenly spaced rows and latents.
    """
    row_step = max(1, len(pre) // n_rows)
    latent_step = max(1, pre.shape[1] // n_latents)
    sample = (pre[::row_step, ::latent_step] * scale[::latent_step]).flatten()
    rank = fraction * len(sample) + 1
    if rank > len(sample):
        return scale.new_zeros(())
    return find_kth_largest(sample, int(rank)).clamp(min=0)


def find_kth_largest(values: Tensor, k: int) -> Tensor:
    """Return the k-th largest of some values, a scalar tensor."""
    if values.is_cuda:  # kthvalue runs on one of a GPU's many multiprocessors, sort on all of them
        return values.sort(descending=True).values[k - 1]
    return values.kthvalue(len(values) - k + 1).values
