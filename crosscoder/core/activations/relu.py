"""ReLU, f = max(0, pre). Lindsey et al. 2024."""

from typing import ClassVar

from torch import Tensor

from crosscoder.core.activations.base import Activation
from crosscoder.core.requirements import Requirements
from crosscoder.core.sparse import Index, index_or_mask
from crosscoder.core.types import Dense, PerLatent


class ReLU(Activation):
    """All positive pre-activations; dense early in training, sparse by a penalty (losses/l1.py)."""

    requirements: ClassVar[Requirements] = Requirements(needs_penalty=True)

    def select(self, pre: Dense, scale: PerLatent) -> Index | Tensor:
        return index_or_mask(pre > 0)
