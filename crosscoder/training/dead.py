"""Which latents have not fired for long."""

import torch
from torch import Tensor, nn

from crosscoder import processes
from crosscoder.sparse import Code


class DeadLatents(nn.Module):
    """Tokens since each latent last fired, [n_latents]; part of the checkpoint."""

    tokens_since_fired: Tensor

    def __init__(self, n_latents: int) -> None:
        super().__init__()
        self.register_buffer("tokens_since_fired", torch.zeros(n_latents, dtype=torch.int64))

    @torch.no_grad()
    def update(self, code: Code) -> None:
        """Count a batch, of all processes."""
        self.tokens_since_fired += processes.n_tokens(len(code))
        self.tokens_since_fired[processes.union(code.counts() > 0)] = 0

    def mask(self, after: int) -> Tensor:
        """[n_latents] bool: silent for at least `after` tokens."""
        return self.tokens_since_fired >= after
