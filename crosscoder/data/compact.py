"""Activations in one byte per number, at half the disk of bfloat16.

    x_td ≈ c_d + q_td · a_t · b_d,    q_td a whole number from −127 to 127

c_d is a dimension's mean and b_d its mean absolute deviation, over a shard; a_t is chosen for each token so that its largest
deviation, in units of b_d, is 127. Without b_d the few dimensions that hold most of a residual stream's norm would leave
nothing for the others.
"""

import torch
from torch import Tensor

from crosscoder.types import SourceActs


def compact(acts: SourceActs) -> dict[str, Tensor]:
    """`acts` q [n, d] int8, `token` a [n], `dimension` b [d], `centre` c [d], as a shard holds them."""
    x = acts.float()
    centre = x.mean(0)
    dimension = (x - centre).abs().mean(0).clamp(min=torch.finfo(torch.float32).tiny)
    x = (x - centre) / dimension
    token = x.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
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
