"""Brings a penalty to the number of active latents one wants: sparser where there are too many, milder where too few.

    log w ← log w + damping · (e_t − e_{t−1}) + rate / n_steps · clip(e_t, −1, 1),      e_t = log L0_t − log L0*

after every step; w multiplies every sparsity penalty. The first term follows L0 as it moves, so that a penalty under which it
falls by itself is eased at once; the second removes what is left. Trainers whose sparsity comes from a penalty can so be compared
with those that fix k, and a penalty need not be searched for on new activations.
"""

import torch
from torch import Tensor, nn

from crosscoder.errors import UserError


class Pressure(nn.Module):
    """See the module's docstring.

    Args:
        target: L0*; None: w is 1.
        n_steps: of the run.
        rate, damping: see above.
    """

    log_weight: Tensor
    error: Tensor
    begun: Tensor

    def __init__(self, target: float | None, n_steps: int, rate: float = 20.0, damping: float = 1.0) -> None:
        super().__init__()
        if target is not None and not target > 0:
            raise UserError(f"l0_target is positive, not {target}")
        self.target, self.step, self.damping = target, rate / n_steps, damping
        self.register_buffer("log_weight", torch.zeros(()))
        self.register_buffer("error", torch.zeros(()))  # of the step before
        self.register_buffer("begun", torch.tensor(False))

    @property
    def weight(self) -> Tensor:
        """w."""
        return self.log_weight.exp()

    @torch.no_grad()
    def update(self, l0: Tensor) -> None:
        """After a step with this mean L0."""
        if self.target is None:
            return
        error = (l0.clamp(min=1e-2) / self.target).log().to(self.error)
        moved = torch.where(self.begun, error - self.error, 0.0)
        self.log_weight += self.damping * moved + self.step * error.clamp(-1, 1)
        self.error.copy_(error)
        self.begun.fill_(True)
