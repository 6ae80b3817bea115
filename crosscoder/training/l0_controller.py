"""Adapt the sparsity coefficient to reach `l0_target`.

    log w ← log w + damping · (e_t − e_{t−1}) + rate / n_steps · clip(e_t, −1, 1)
    e_t = log L0_t − log L0*

after every step; w multiplies every sparsity penalty. The first term follows L0 as it moves, so
that a penalty under which L0 falls by itself is weakened at once. The second term removes the
remaining error. With this, trainers whose sparsity comes from a penalty can be compared with those
that fix k, and no penalty has to be tuned for new activations.
"""

import torch
from torch import Tensor, nn

from crosscoder.errors import UserError


class L0Controller(nn.Module):
    """Controller of the sparsity coefficient w.

    Args:
        target: L0*, the wanted mean number of active latents per token. None: w is 1.
        n_steps: Optimizer steps of the run.
        rate: Gain of the error, over the whole run.
        damping: Gain of the change of the error.
    """

    log_weight: Tensor
    error: Tensor
    begun: Tensor

    def __init__(
        self, target: float | None, n_steps: int, rate: float = 20.0, damping: float = 1.0
    ) -> None:
        super().__init__()
        if target is not None and not target > 0:
            raise UserError(f"l0_target is positive, not {target}")
        self.target = target
        self.step = rate / n_steps
        self.damping = damping
        self.register_buffer("log_weight", torch.zeros(()))
        self.register_buffer("error", torch.zeros(()))  # of the previous step
        self.register_buffer("begun", torch.tensor(False))  # whether there was a previous step

    @property
    def weight(self) -> Tensor:
        """Return w."""
        return self.log_weight.exp()

    @torch.no_grad()
    def update(self, l0: Tensor) -> None:
        """Adapt w after a step with this mean L0."""
        if self.target is None:
            return
        error = (l0.clamp(min=1e-2) / self.target).log().to(self.error)
        change = torch.where(self.begun, error - self.error, 0.0)
        self.log_weight += self.damping * change + self.step * error.clamp(-1, 1)
        self.error.copy_(error)
        self.begun.fill_(True)
