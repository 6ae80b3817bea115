"""Activations in one byte per number, at half the disk of bfloat16.

    x_td ≈ c_d + q_td · a_t · b_d,    q_td a whole number from −127 to 127

c_d is the median of a dimension and b_d what nine tenths of the deviations from it stay below, over a shard; a_t is chosen for
each token so that its largest deviation is 127 a_t b_d. Without b_d the few dimensions that hold most of a residual stream's
norm would leave nothing for the others; a mean in place of the median would be that of BOS, whose norm is a hundred times
as large.
"""

import torch
from torch import Tensor

from crosscoder.types import SourceActs

SAMPLE = 2048  # rows, of which median and quantile are taken
TINY = torch.finfo(torch.float32).tiny


def compact(acts: SourceActs) -> dict[str, Tensor]:
    """`acts` q [n, d] int8, `token` a [n], `dimension` b [d], `centre` c [d], as a shard holds them."""
    x = acts.float()
    some = x[:: max(1, len(x) // SAMPLE)]
    centre = some.median(0).values
    deviation = (some - centre).abs()
    dimension = deviation.quantile(0.9, dim=0)
    dimension = torch.where(dimension > 0, dimension, deviation.amax(0)).clamp(min=TINY)
    x = (x - centre) / dimension
    token = x.abs().amax(1).clamp(min=TINY) / 127
    return {
        "acts": (x / token[:, None]).round().to(torch.int8),
        "token": token,
        "dimension": dimension,
        "centre": centre,
    }


def restored(shard: dict[str, Tensor], dtype: torch.dtype, rows: Tensor | None = None) -> Tensor:
    """Activations [n, d_source] of a shard, or of these rows of it, however it holds them."""
    acts = shard["acts"] if rows is None else shard["acts"][rows]
    if "token" not in shard:
        return acts
    token = shard["token"] if rows is None else shard["token"][rows]
    return (shard["centre"] + acts * token[:, None] * shard["dimension"]).to(dtype)
