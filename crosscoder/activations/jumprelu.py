"""f = pre · H(pre − θ_j): a threshold per latent. Rajamanoharan et al. 2024; what BatchTopK is saved as."""

from typing import Any

import torch
from torch import Tensor

from crosscoder.activations.base import Activation
from crosscoder.sparse import Index, index_or_mask
from crosscoder.types import Dense, PerLatent


class JumpReLU(Activation):
    """Active where the pre-activation exceeds the latent's own threshold. For inference.

    Args:
        n_latents: size of the dictionary; the thresholds are loaded with the weights.
    """

    threshold: torch.Tensor

    def __init__(self, n_latents: int) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.zeros(n_latents))

    @classmethod
    def of(cls, threshold: PerLatent) -> "JumpReLU":
        """With these thresholds [n_latents]."""
        activation = cls(len(threshold))
        activation.threshold.copy_(threshold)
        return activation

    def select(self, pre: Dense, scale: PerLatent) -> Index | Tensor:
        return index_or_mask(pre > self.threshold.clamp(min=0))

    def arguments(self) -> dict[str, Any]:
        return {"n_latents": len(self.threshold)}
