"""f = max(0, pre). Lindsey et al. 2024."""

from crosscoder.activations.base import Activation
from crosscoder.types import Dense


class ReLU(Activation):
    """Dense early in training; sparsity comes from a penalty (losses/l1.py)."""

    dense = True

    def forward(self, pre: Dense) -> Dense:
        """max(0, pre), [batch, n_latents]."""
        return pre.relu()
