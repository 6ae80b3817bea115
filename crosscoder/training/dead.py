"""Count the tokens since each latent last fired."""

import torch
from torch import Tensor, nn

from crosscoder.core.sparse import Code
from crosscoder.distributed import BY_TOKENS, Parallel


class DeadLatents(nn.Module):
    """Tokens since each latent last fired, [n_latents]; part of the checkpoint."""

    tokens_since_fired: Tensor

    def __init__(self, n_latents: int) -> None:
        super().__init__()
        self.register_buffer("tokens_since_fired", torch.zeros(n_latents, dtype=torch.int64))

    @torch.no_grad()
    def update(self, code: Code, parallel: Parallel = BY_TOKENS) -> None:
        """Count a batch of all processes."""
        self.tokens_since_fired += parallel.count_tokens(len(code))
        has_fired = parallel.union_over_ranks(code.counts() > 0)
        self.tokens_since_fired[has_fired] = 0

    def mask(self, after: int) -> Tensor:
        """Return [n_latents] bool: whether a latent was silent for at least `after` tokens."""
        return self.tokens_since_fired >= after
