"""Kernels in Triton, for CUDA; with TRITON_INTERPRET=1 they run anywhere, slowly.

Sums are accumulated in fp32 (in fp64 for fp64 tables) in the order of the entries, so results
repeat bit for bit. Offsets are 64-bit: a table may have more than 2³¹ numbers.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosscoder.core.kernels.embedding import list_above

__all__ = ["bag", "dots", "list_above"]

COLUMNS = 1024  # columns of a row at a time; a row of two sources of Gemma 2 2B takes five


@triton.jit
@no_type_check  # tests add runtime type checks, which a kernel cannot contain
def _bag(ids, starts, weights, table, out, width, COLUMNS: tl.constexpr, SUM: tl.constexpr):
    # one program sums one bag in one block of columns
    bag = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = columns < width
    total = tl.zeros([COLUMNS], dtype=SUM)
    for entry in range(tl.load(starts + bag), tl.load(starts + bag + 1)):
        row = tl.load(table + tl.load(ids + entry) * width + columns, mask=inside, other=0.0)
        total += tl.load(weights + entry).to(SUM) * row.to(SUM)
    tl.store(out + bag * width + columns, total, mask=inside)


@triton.jit
@no_type_check
def _dots(ids, bags, acts, table, out, width, COLUMNS: tl.constexpr, SUM: tl.constexpr):
    # one program per entry
    entry = tl.program_id(0).to(tl.int64)
    x, row = acts + tl.load(bags + entry) * width, table + tl.load(ids + entry) * width
    total = tl.zeros([COLUMNS], dtype=SUM)
    for start in range(0, width, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        inside = columns < width
        a = tl.load(x + columns, mask=inside, other=0.0)
        b = tl.load(row + columns, mask=inside, other=0.0)
        total += a.to(SUM) * b.to(SUM)
    tl.store(out + entry, tl.sum(total, axis=0))


def bag(ids: Tensor, starts: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """Return the sums of `embedding.bag`."""
    n_bags, width = len(starts) - 1, table.shape[1]
    out = table.new_empty(n_bags, width)
    if out.numel():
        columns = _columns(width)
        # a gradient may be one number, expanded to all entries
        inputs = (ids.contiguous(), starts.contiguous(), weights.contiguous(), table.contiguous())
        with torch.cuda.device_of(table):  # Triton launches on the current GPU
            grid = (n_bags, triton.cdiv(width, columns))
            _bag[grid](*inputs, out, width, COLUMNS=columns, SUM=_sum_dtype(table))
    return out


def dots(ids: Tensor, starts: Tensor, bags: Tensor, acts: Tensor, table: Tensor) -> Tensor:
    """Return the products of `embedding.dots`."""
    width = table.shape[1]
    out = table.new_empty(len(ids))
    if len(ids):
        inputs = (ids.contiguous(), bags.contiguous(), acts.contiguous(), table.contiguous())
        with torch.cuda.device_of(table):
            columns = _columns(width)
            _dots[(len(ids),)](*inputs, out, width, COLUMNS=columns, SUM=_sum_dtype(table))
    return out


def _columns(width: int) -> int:
    return min(COLUMNS, triton.next_power_of_2(width))


def _sum_dtype(table: Tensor) -> tl.dtype:
    return tl.float64 if table.dtype == torch.float64 else tl.float32
