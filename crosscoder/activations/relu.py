"""f = max(0, pre). Lindsey et al. 2024."""

from torch import Tensor

from crosscoder.activations.base import Activation
from crosscoder.sparse import Index, index_or_mask
from crosscoder.types import Dense, PerLatent


class ReLU(Activation):
    """Dense early in training; sparsity comes from a penalty (losses/l1.py)."""

    sparse = False

    def select(self, pre: Dense, scale: PerLatent) -> Index | Tensor:
        return index_or_mask(pre > 0)
