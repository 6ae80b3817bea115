"""Gradients of the sparse code's products as gathers over its entries."""

from typing import Any

import torch
from torch import Tensor

from crosscoder.core.sparse.index import Index
from crosscoder.core.types import Acts, Decoder, Entries, PerLatent


class EncodeEntries(torch.autograd.Function):
    """Entries of acts @ W_encᵀ + b_enc at an index; the product that chose them gave the values."""

    @staticmethod
    def forward(
        ctx: Any, acts: Acts, W_enc: Decoder, b_enc: PerLatent, values: Entries, index: Index
    ) -> Entries:
        ctx.save_for_backward(acts, W_enc)
        ctx.index = index
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Entries) -> tuple:
        (grad,) = grads
        acts, W_enc = ctx.saved_tensors
        index = ctx.index
        needs_acts, needs_W_enc, needs_b_enc, *_ = ctx.needs_input_grad
        acts_grad = index.gather(grad, W_enc) if needs_acts else None
        W_enc_grad = index.scatter(grad, acts) if needs_W_enc else None
        b_enc_grad = index.sum_by_latent(grad) if needs_b_enc else None
        return acts_grad, W_enc_grad, b_enc_grad, None, None


class DecodeEntries(torch.autograd.Function):
    """Σ_j f_tj W_dec[j] with both gradients as gathers."""

    @staticmethod
    def forward(ctx: Any, values: Entries, W_dec: Decoder, index: Index) -> Acts:
        ctx.save_for_backward(values, W_dec)
        ctx.index = index
        return index.gather(values, W_dec)

    @staticmethod
    def backward(ctx: Any, *grads: Acts) -> tuple:
        (grad,) = grads
        values, W_dec = ctx.saved_tensors
        index = ctx.index
        needs_values, needs_W_dec, _ = ctx.needs_input_grad
        values_grad = index.dots(grad, W_dec) if needs_values else None
        W_dec_grad = index.scatter(values, grad) if needs_W_dec else None
        return values_grad, W_dec_grad, None


def product(a: Tensor, b: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a @ b, computed in `dtype` (also backward) and returned in the dtype of a."""
    if dtype in (None, a.dtype):
        return a @ b
    return (a.to(dtype) @ b.to(dtype)).to(a.dtype)
