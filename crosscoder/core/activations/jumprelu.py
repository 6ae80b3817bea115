"""JumpReLU, f = pre · H(pre − θ_j): one threshold per latent. Rajamanoharan et al. 2024.

BatchTopK, learned JumpReLU and gated latents are saved as this.
"""

from typing import Any

import torch
from torch import Tensor

from crosscoder.core.activations.base import Activation
from crosscoder.core.sparse import Index, index_or_mask
from crosscoder.core.types import Dense, PerLatent
from crosscoder.values import require_whole


class JumpReLU(Activation):
    """Active where the pre-activation exceeds the latent's own threshold; for inference.

    Args:
        n_latents: Size of the dictionary; the thresholds are loaded with the weights.
    """

    threshold: torch.Tensor

    def __init__(self, n_latents: int) -> None:
        super().__init__()
        require_whole("activation.n_latents", n_latents)
        self.register_buffer("threshold", torch.zeros(n_latents))

    @classmethod
    def from_threshold(cls, threshold: PerLatent) -> "JumpReLU":
        """Build a JumpReLU with these thresholds [n_latents]."""
        activation = cls(len(threshold))
        activation.threshold.copy_(threshold)
        return activation

    def select(self, pre: Dense, scale: PerLatent) -> Index | Tensor:
        return index_or_mask(pre > self.threshold.clamp(min=0))

    def arguments(self) -> dict[str, Any]:
        return {"n_latents": len(self.threshold)}
