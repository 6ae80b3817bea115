"""Variants outside of the package, which no file of the package knows."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from crosscoder.core.activations import Activation
from crosscoder.core.requirements import Requirements
from crosscoder.core.sparse import Index, index_or_mask
from crosscoder.core.types import Dense, PerLatent
from crosscoder.losses import LossContext


@dataclass(frozen=True)
class Huber:
    """Reconstruction error that is linear for large errors."""

    requirements: ClassVar[Requirements] = Requirements(reconstructs=True)
    weight: float = 1.0

    def __call__(self, ctx: LossContext) -> Tensor:
        error = nn.functional.huber_loss(ctx.output.recon, ctx.acts, reduction="none")
        return ctx.mean(error.sum(-1))


class SoftThreshold(Activation):
    """Pre-activations minus a learned margin per latent, which only `MarginLoss` moves."""

    requirements: ClassVar[Requirements] = Requirements(
        needs_penalty=True, learnable="margins", needs_loss=True
    )

    def __init__(self, n_latents: int) -> None:
        super().__init__()
        self.margin = nn.Parameter(torch.full((n_latents,), 0.1))

    def compute_values(self, pre: Dense) -> Dense:
        return (pre - self.margin.detach()).relu()

    def select(self, pre: Dense, scale: PerLatent) -> Index | Tensor:
        return index_or_mask(pre > self.margin)

    def arguments(self) -> dict[str, Any]:
        return {"n_latents": len(self.margin)}


@dataclass(frozen=True)
class MarginLoss:
    """Penalty on pre-activations above their margins."""

    requirements: ClassVar[Requirements] = Requirements(penalises=True, needs="margins")
    weight: float = 1e-2

    def __call__(self, ctx: LossContext) -> Tensor:
        excess = (ctx.every_pre - ctx.crosscoder.activation.margin).relu()
        return ctx.mean(excess.to(ctx.acts) @ ctx.crosscoder.decoder_norms().sum(0))
