"""Gated latents: separate answers to which latents are active and how strongly.

Rajamanoharan et al. 2024, "Improving Dictionary Learning with Gated Sparse Autoencoders".

    gate   π_j = pre_j,                            active where π_j > 0
    value  f_j = relu(exp(r_j) · pre_j + s_j)      on active latents; the directions are shared as
                                                   in the paper, r and s are learned

A penalty on the gates does not shrink the values. The gates learn through losses/gate.py. The
activation is saved as a JumpReLU on the encoder of the values, exp(r) W_enc and exp(r) b_enc + s,
with threshold max(s, 0).
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from crosscoder.core.activations.base import Activation
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.requirements import Requirements
from crosscoder.core.sparse import Index, index_or_mask
from crosscoder.core.types import Dense, PerLatent
from crosscoder.values import require_whole


class Gated(Activation):
    """Gate and value of each latent from one pre-activation.

    Args:
        n_latents: Size of the dictionary.
    """

    requirements: ClassVar[Requirements] = Requirements(
        needs_penalty=True, learnable="gates", needs_loss=True
    )

    def __init__(self, n_latents: int) -> None:
        super().__init__()
        require_whole("activation.n_latents", n_latents)
        self.log_gain = nn.Parameter(torch.zeros(n_latents))
        self.shift = nn.Parameter(torch.zeros(n_latents))

    def compute_values(self, pre: Dense) -> Dense:
        return self._ungated_values(pre) * (pre > 0)

    def _ungated_values(self, pre: Dense) -> Dense:
        return (self.log_gain.exp() * pre + self.shift).relu()

    def select(self, pre: Dense, scale: PerLatent) -> Index | Tensor:
        return index_or_mask((pre > 0) & (self._ungated_values(pre) > 0))

    def to_inference(self, scale: PerLatent) -> Activation:
        return JumpReLU.from_threshold(self.shift.detach().clamp(min=0))

    def fold_encoder(self, W_enc: Tensor, b_enc: PerLatent) -> tuple[Tensor, PerLatent]:
        gain = self.log_gain.exp()
        return gain[:, None] * W_enc, gain * b_enc + self.shift

    def arguments(self) -> dict[str, Any]:
        return {"n_latents": len(self.shift)}
