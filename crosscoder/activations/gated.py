"""Gated latents: whether one is active and how strongly are two questions. Rajamanoharan et al. 2024, "Improving Dictionary …".

    gate   π_j = pre_j,             active where π_j > 0
    value  f_j = relu(exp(r_j) · pre_j + s_j)      on active latents, the paper's shared directions with r and s learnt

so that a penalty on the gates does not shrink the values. The gates learn through losses/gate.py; what is saved is a JumpReLU
on the values' own encoder, exp(r) W_enc and exp(r) b_enc + s, with threshold max(s, 0).
"""

from typing import Any

import torch
from torch import Tensor, nn

from crosscoder.activations.base import Activation
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.sparse import Index, index_or_mask
from crosscoder.types import Dense, PerLatent


class Gated(Activation):
    """See the module's docstring.

    Args:
        n_latents: size of the dictionary.
    """

    sparse = False
    learns = "gates"

    def __init__(self, n_latents: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(n_latents))
        self.shift = nn.Parameter(torch.zeros(n_latents))

    def values(self, pre: Dense) -> Dense:
        return self._values(pre) * (pre > 0)

    def _values(self, pre: Dense) -> Dense:
        return (self.log_gain.exp() * pre + self.shift).relu()

    def select(self, pre: Dense, scale: PerLatent) -> Index | Tensor:
        return index_or_mask((pre > 0) & (self._values(pre) > 0))

    def frozen(self, scale: PerLatent) -> Activation:
        return JumpReLU.of(self.shift.detach().clamp(min=0))

    def encoder(self, W_enc: Tensor, b_enc: PerLatent) -> tuple[Tensor, PerLatent]:
        gain = self.log_gain.exp()
        return gain[:, None] * W_enc, gain * b_enc + self.shift

    def arguments(self) -> dict[str, Any]:
        return {"n_latents": len(self.shift)}
