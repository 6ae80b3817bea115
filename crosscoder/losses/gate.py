"""Loss of the gates of gated latents. Rajamanoharan et al. 2024.

    λ E_t Σ_j relu(π_tj) Σ_s ‖d_j^s‖  +  E_t ‖x_t − W_dec relu(π_t) − b_dec‖²

The first summand closes gates. The second holds decoders fixed and opens gates where a latent is of
use. The paper is "Improving Dictionary Learning with Gated Sparse Autoencoders".
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from crosscoder.core.requirements import Requirements
from crosscoder.losses.base import LossContext, ramp
from crosscoder.values import require_fraction, require_number


@dataclass(frozen=True)
class Gate:
    """L1 of the gates plus the error of their own reconstruction.

    Args:
        weight: Weight of the term.
        sparsity: λ, which rises linearly from 0 over the first `warmup` of the run.
        warmup: Fraction of the run.
    """

    requirements: ClassVar[Requirements] = Requirements(penalises=True, needs="gates")
    weight: float = 1.0
    sparsity: float = 1.0
    warmup: float = 0.05

    def __post_init__(self) -> None:
        require_number("loss.gate.weight", self.weight, least=0)
        require_number("loss.gate.sparsity", self.sparsity, least=0)
        require_fraction("loss.gate.warmup", self.warmup)

    def __call__(self, ctx: LossContext) -> Tensor:
        crosscoder = ctx.crosscoder
        gates = ctx.every_pre.relu().to(ctx.acts)
        norms = ctx.penalty_weights(crosscoder.decoder_norms().sum(0).detach())
        recon = gates @ crosscoder.W_dec.detach() + crosscoder.b_dec.detach()
        sparsity = ramp(ctx.progress, self.warmup) * self.sparsity
        return ctx.mean(sparsity * (gates @ norms) + (ctx.acts - recon).square().sum(-1))
