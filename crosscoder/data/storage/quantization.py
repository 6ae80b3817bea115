"""Activations as 8-bit integers, at half the disk space of bfloat16.

    x_td ≈ c_d + q_td · a_t · b_d,    q_td an integer from −127 to 127

c_d is the median of dimension d, and b_d the 0.9 quantile of the absolute deviations from it, over
a shard. a_t is chosen for each token t so that its largest deviation is 127 a_t b_d. Without b_d,
the few dimensions that hold most of a residual stream's norm would leave no precision for the
others. The mean in place of the median would follow BOS, whose norm is a hundred times as large.
"""

from typing import Literal

import torch
from torch import Tensor

from crosscoder.core.types import SourceActs
from crosscoder.data.exclude import compute_norms
from crosscoder.values import require_choice

SAMPLE_ROWS = 2048  # rows on which median and quantile are measured
TINY = torch.finfo(torch.float32).tiny


def make_shard(acts: SourceActs, storage: Literal["exact", "int8"] = "exact") -> dict[str, Tensor]:
    """Return the tensors of a shard: the activations, exact or quantized, and `norm` [n]."""
    require_choice("storage", storage, ("exact", "int8"))
    tensors = quantize(acts) if storage == "int8" else {"acts": acts}
    return tensors | {"norm": compute_norms(acts)}


def quantize(acts: SourceActs) -> dict[str, Tensor]:
    """Quantize activations to 8-bit integers.

    Returns:
        `acts` q [n, d] int8, `token` a [n], `dimension` b [d], `centre` c [d].
    """
    x = acts.float()
    sample = x[:: max(1, len(x) // SAMPLE_ROWS)]
    centre = sample.median(0).values
    deviation = (sample - centre).abs()
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


def dequantize(shard: dict[str, Tensor], dtype: torch.dtype, rows: Tensor | None = None) -> Tensor:
    """Return activations [n, d_source] of a shard, or of some of its rows.

    Args:
        shard: Tensors as `make_shard` returns them; exact ones are returned as they are.
        dtype: dtype of activations that were quantized.
        rows: Numbers of the rows; None for all.
    """
    acts = shard["acts"] if rows is None else shard["acts"][rows]
    if "token" not in shard:
        return acts
    token = shard["token"] if rows is None else shard["token"][rows]
    return (shard["centre"] + acts * token[:, None] * shard["dimension"]).to(dtype)
