"""JumpReLU with thresholds learned through pseudo-derivatives. Rajamanoharan et al. 2024, §3.

    f_j = pre_j · H(pre_j − θ_j),   θ_j = exp(t_j)
    ∂f_j/∂θ_j      = −θ_j/ε · K((pre_j − θ_j) / ε)
    ∂H(·)/∂θ_j     = −1/ε  · K((pre_j − θ_j) / ε)        K(u) = 1 where |u| < ½

Only pre-activations within ε/2 of a threshold move it. Sparsity comes from a penalty: losses/l0.py,
losses/tanh.py.
"""

from math import log
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from crosscoder.core.activations.base import Activation
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.naming import display_name
from crosscoder.core.requirements import Requirements
from crosscoder.core.sparse import Index, index_or_mask
from crosscoder.core.types import Dense, PerLatent
from crosscoder.errors import UserError
from crosscoder.values import is_finite, require_whole


class LearntJumpReLU(Activation):
    """Active where the pre-activation exceeds a learned threshold per latent.

    Args:
        n_latents: Size of the dictionary.
        initial: Threshold at the beginning, in units of pre-activations.
        bandwidth: ε, in the same units.
    """

    requirements: ClassVar[Requirements] = Requirements(needs_penalty=True, learnable="thresholds")

    def __init__(self, n_latents: int, initial: float = 0.1, bandwidth: float = 0.5) -> None:
        super().__init__()
        require_whole("activation.n_latents", n_latents)
        if not (is_finite(initial) and is_finite(bandwidth) and initial > 0 and bandwidth > 0):
            raise UserError(
                "jumprelu's initial threshold and bandwidth are positive, "
                f"not {initial!r} and {bandwidth!r}"
            )
        self.initial = initial
        self.bandwidth = bandwidth
        self.log_threshold = nn.Parameter(torch.full((n_latents,), log(initial)))

    @property
    def threshold(self) -> PerLatent:
        """Return θ, with a gradient."""
        return self.log_threshold.exp()

    def compute_values(self, pre: Dense) -> Dense:
        return _Jump.apply(pre, self.threshold, self.bandwidth)

    def active(self, pre: Dense) -> Dense:
        """Return H(pre − θ), [batch, n_latents], with a gradient to θ."""
        return _Step.apply(pre, self.threshold, self.bandwidth)

    def select(self, pre: Dense, scale: PerLatent) -> Index | Tensor:
        return index_or_mask(pre > self.threshold)

    def to_inference(self, scale: PerLatent) -> Activation:
        return JumpReLU.from_threshold(self.threshold.detach())

    def arguments(self) -> dict[str, Any]:
        return {
            "n_latents": len(self.log_threshold),
            "initial": self.initial,
            "bandwidth": self.bandwidth,
        }


def require_thresholds(activation: Activation) -> LearntJumpReLU:
    """Return the activation if it learns thresholds.

    Raises:
        UserError: It does not.
    """
    if not isinstance(activation, LearntJumpReLU):
        raise UserError(
            f"activation {display_name(activation)} has no thresholds to train: "
            "use activation=jumprelu"
        )
    return activation


class _Jump(torch.autograd.Function):
    """Value pre · H(pre − θ) with the pseudo-derivative for θ."""

    @staticmethod
    def forward(ctx: Any, pre: Dense, threshold: PerLatent, bandwidth: float) -> Dense:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Dense) -> tuple:
        (grad,) = grads
        pre, threshold = ctx.saved_tensors
        is_near = _is_near(pre, threshold, ctx.bandwidth)
        pre_grad = grad * (pre > threshold)
        threshold_grad = -threshold / ctx.bandwidth * (grad * is_near).sum(0)
        return pre_grad, threshold_grad, None


class _Step(torch.autograd.Function):
    """Step H(pre − θ) with the pseudo-derivative for θ."""

    @staticmethod
    def forward(ctx: Any, pre: Dense, threshold: PerLatent, bandwidth: float) -> Dense:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre)

    @staticmethod
    def backward(ctx: Any, *grads: Dense) -> tuple:
        (grad,) = grads
        pre, threshold = ctx.saved_tensors
        is_near = _is_near(pre, threshold, ctx.bandwidth)
        return None, -(grad * is_near).sum(0) / ctx.bandwidth, None


def _is_near(pre: Dense, threshold: PerLatent, bandwidth: float) -> Tensor:
    return (pre - threshold).abs() < bandwidth / 2
