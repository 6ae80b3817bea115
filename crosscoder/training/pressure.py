"""Brings a penalty to the number of active latents one wants: sparser where there are too many, milder where too few.

    log w ← log w + rate / n_steps · clip((L0 − L0*) / L0*, −1, 1)

after every step; w multiplies every sparsity penalty. Trainers whose sparsity comes from a penalty can so be compared with
those that fix k, and a penalty need not be searched for on new activations.
"""

import torch
from torch import Tensor, nn

from crosscoder.errors import UserError


class Pressure(nn.Module):
    """See the module's docstring.

    Args:
        target: L0*; None: w is 1.
        n_steps: of the run.
        rate: w changes by at most a factor e^rate in all.
    """

    log_weight: Tensor

    def __init__(self, target: float | None, n_steps: int, rate: float = 20.0) -> None:
        super().__init__()
        if target is not None and not target > 0:
            raise UserError(f"l0_target is positive, not {target}")
        self.target, self.step = target, rate / n_steps
        self.register_buffer("log_weight", torch.zeros(()))

    @property
    def weight(self) -> Tensor:
        """w."""
        return self.log_weight.exp()

    @torch.no_grad()
    def update(self, l0: Tensor) -> None:
        """After a step with this mean L0."""
        if self.target is not None:
            self.log_weight += self.step * ((l0 - self.target) / self.target).clamp(-1, 1)
