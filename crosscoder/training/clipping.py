"""Gradient clipping by norm for weights on a CPU.

torch's `clip_grad_norm_` computes a norm with one thread, and rewrites gradients that are within
the limit, too. This takes as long as Adam.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def can_clip(gradients: Sequence[Tensor]) -> bool:
    """Return whether all gradients are plain tensors on a CPU."""
    return all(type(grad) is Tensor and grad.device.type == "cpu" for grad in gradients)


@torch.no_grad()
def clip_norm(gradients: Sequence[Tensor], limit: float) -> None:
    """Scale gradients in place so that their common norm is at most `limit`.

    Results are those of `torch.nn.utils.clip_grad_norm_`, except for rounding.
    """
    factor = limit / (_compute_norm(gradients) + 1e-6)
    is_within = factor >= 1  # not if the norm is NaN, which then is in all gradients
    if not is_within:
        for gradient in gradients:
            gradient.mul_(factor)


def _compute_norm(gradients: Sequence[Tensor]) -> float:
    """Return the norm of all entries. A product uses all threads, which `vector_norm` does not."""
    squares = []
    for gradient in gradients:
        entries = gradient.flatten()
        squares.append(torch.dot(entries, entries))
    return float(torch.stack(squares).sum().sqrt())
