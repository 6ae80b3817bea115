"""JumpReLU with thresholds that are learnt through pseudo-derivatives. Rajamanoharan et al. 2024, §3.

    f_j = pre_j · H(pre_j − θ_j),   θ_j = exp(t_j)
    ∂f_j/∂θ_j      = −θ_j/ε · K((pre_j − θ_j) / ε)
    ∂H(·)/∂θ_j     = −1/ε  · K((pre_j − θ_j) / ε)        K(u) = 1 where |u| < ½

Only pre-activations within ε/2 of a threshold move it. Sparsity comes from a penalty: losses/l0.py, losses/tanh.py.
"""

from math import log
from typing import Any

import torch
from torch import Tensor, nn

from crosscoder.activations.base import Activation
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.errors import UserError
from crosscoder.sparse import Index, index_or_mask
from crosscoder.types import Dense, PerLatent


class LearntJumpReLU(Activation):
    """See the module's docstring.

    Args:
        n_latents: size of the dictionary.
        initial: threshold at the beginning, in units of pre-activations.
        bandwidth: ε, in the same units.
    """

    sparse = False
    learns = "thresholds"

    def __init__(self, n_latents: int, initial: float = 0.1, bandwidth: float = 0.5) -> None:
        super().__init__()
        if not (initial > 0 and bandwidth > 0):
            raise UserError(f"jumprelu's initial threshold and bandwidth are positive, not {initial} and {bandwidth}")
        self.initial, self.bandwidth = initial, bandwidth
        self.log_threshold = nn.Parameter(torch.full((n_latents,), log(initial)))

    @property
    def threshold(self) -> PerLatent:
        """θ, with a gradient."""
        return self.log_threshold.exp()

    def values(self, pre: Dense) -> Dense:
        return _Jump.apply(pre, self.threshold, self.bandwidth)

    def active(self, pre: Dense) -> Dense:
        """H(pre − θ), [batch, n_latents], with a gradient to θ."""
        return _Step.apply(pre, self.threshold, self.bandwidth)

    def select(self, pre: Dense, scale: PerLatent) -> Index | Tensor:
        return index_or_mask(pre > self.threshold)

    def frozen(self, scale: PerLatent) -> Activation:
        return JumpReLU.of(self.threshold.detach())

    def arguments(self) -> dict[str, Any]:
        return {"n_latents": len(self.log_threshold), "initial": self.initial, "bandwidth": self.bandwidth}


def thresholds_of(activation: Activation) -> LearntJumpReLU:
    """The activation, if it learns thresholds; else it is refused."""
    if not isinstance(activation, LearntJumpReLU):
        raise UserError(f"activation {activation.spec()['name']} has no thresholds to train: take activation=jumprelu")
    return activation


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Dense, threshold: PerLatent, bandwidth: float) -> Dense:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Dense) -> tuple:
        pre, threshold = ctx.saved_tensors
        near = _near(pre, threshold, ctx.bandwidth)
        return grads[0] * (pre > threshold), -threshold / ctx.bandwidth * (grads[0] * near).sum(0), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Dense, threshold: PerLatent, bandwidth: float) -> Dense:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre)

    @staticmethod
    def backward(ctx: Any, *grads: Dense) -> tuple:
        pre, threshold = ctx.saved_tensors
        near = _near(pre, threshold, ctx.bandwidth)
        return None, -(grads[0] * near).sum(0) / ctx.bandwidth, None


def _near(pre: Dense, threshold: PerLatent, bandwidth: float) -> Tensor:
    return (pre - threshold).abs() < bandwidth / 2
