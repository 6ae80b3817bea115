"""Which entries of the pre-activations a code keeps.

What is compared is the score v_tj = relu(pre_tj) · scale_j, and it is never written down for all of them: a block of rows
at a time passes through the cache, and only entries above a guess are listed and compared with each other. The guess comes
from a sample; where it was too high, a lower one follows and in the end none, so the selection is exact whatever the sample.
Ties break by position: the lower row, then the lower latent.
"""

import math

import torch
from torch import Tensor

from crosscoder import processes
from crosscoder.sparse import Index, positions
from crosscoder.types import Dense, Entries, PerLatent

# scores held at once: what a core's cache holds, or what a GPU's memory does not feel
BLOCK = {"cpu": 2**20, "cuda": 2**26}


def above(pre: Dense, scale: PerLatent, least: Tensor) -> tuple[Index, Entries]:
    """The entries with pre · scale > least (a number, or one per row [batch]), and their scores."""
    n = pre.shape[1]
    rows = max(1, min(len(pre), BLOCK.get(pre.device.type, 2**24) // n))
    v = torch.empty(rows, n, dtype=torch.promote_types(pre.dtype, scale.dtype), device=pre.device)
    higher = torch.empty(rows, n, dtype=torch.bool, device=pre.device)
    least = least.expand(len(pre))[:, None]
    found, scores = [pre.new_empty(0, dtype=torch.int64)], [v.new_empty(0)]
    for start in range(0, len(pre), rows):
        part = pre[start : start + rows]
        torch.mul(part, scale, out=v[: len(part)])
        torch.gt(v[: len(part)], least[start : start + rows], out=higher[: len(part)])
        here = positions(higher[: len(part)])
        found.append(here + start * n)
        scores.append(v.view(-1)[here])
    return Index.at(torch.cat(found), len(pre), n), torch.cat(scores)


def select_topk(pre: Dense, scale: PerLatent, k: int) -> Index:
    """Per token the k largest positive scores."""
    k = min(k, pre.shape[1])
    least = _guess_by_row(pre, scale, k)
    index, scores = above(pre, scale, least)
    short = index.counts < k
    if (short & (least > 0)).any():
        index, scores = above(pre, scale, least.masked_fill(short, 0))
    # candidates as a table, one row per token, in the order of their latents
    place = torch.arange(len(scores), device=pre.device) - index.starts[index.rows]
    table = scores.new_zeros(len(pre), max(int(index.counts.max()) if len(pre) else 0, k))
    table[index.rows, place] = scores
    keep = torch.zeros_like(table, dtype=torch.bool).scatter_(1, _largest(table, k), True)
    return index[keep[index.rows, place]]


def _largest(table: Tensor, k: int) -> Tensor:
    """Columns of the k largest of each row, [rows, k]; of equal ones the first are kept."""
    if k == table.shape[1]:
        return torch.arange(k, device=table.device).expand(len(table), k)
    values, columns = table.topk(k + 1, dim=1)
    tied = (values[:, k] == values[:, k - 1]) & (values[:, k] > 0)
    columns = columns[:, :k]
    if tied.any():
        columns[tied] = table[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return columns


def _guess_by_row(pre: Dense, scale: PerLatent, k: int) -> Tensor:
    """Per row a score that more than k entries exceed, going by an eighth of the latents; 0 where that is too few to tell."""
    n = pre.shape[1] // 8
    expected = k / 8
    rank = int(expected + 6 * expected**0.5) + 1  # six standard deviations
    if rank > n:
        return torch.zeros(len(pre), dtype=scale.dtype, device=pre.device)
    return (pre[:, :n] * scale[:n]).topk(rank, dim=1).values[:, -1].clamp(min=0)


def select_batch_topk(pre: Dense, scale: PerLatent, k: int) -> Index:
    """Over the batch, of all processes, the k · batch largest positive scores (Bussmann et al. 2024)."""
    everything = pre.numel() * processes.size()
    wanted = min(k * processes.n_tokens(len(pre)), everything)
    share = wanted / max(everything, 1)
    for slack in (1.5, 8.0, math.inf):
        guess = processes.smallest(_guess(pre, scale, slack * share))
        index, scores = above(pre, scale, guess)
        parts = processes.gathered(scores)
        if sum(map(len, parts)) >= wanted or guess == 0:
            break
    every = torch.cat(parts)
    if len(every) <= wanted:
        return index
    threshold = every.kthvalue(len(every) - wanted + 1).values
    keep = scores > threshold
    # entries equal to the threshold fill what is left, in order of position, and here those of lower ranks come first
    left = wanted - int((every > threshold).sum())
    left -= sum(int((part == threshold).sum()) for part in parts[: processes.rank()])
    keep[(scores == threshold).nonzero()[: max(left, 0), 0]] = True
    return index[keep]


def _guess(pre: Dense, scale: PerLatent, share: float, rows: int = 64, latents: int = 1024) -> Tensor:
    """A score that about this share of the entries exceeds, going by evenly spaced rows and latents; at least 0."""
    every = max(1, pre.shape[1] // latents)
    sample = (pre[:: max(1, len(pre) // rows), ::every] * scale[::every]).flatten()
    rank = share * len(sample) + 1
    if rank > len(sample):
        return scale.new_zeros(())
    return sample.kthvalue(len(sample) - int(rank) + 1).values.clamp(min=0)
