"""A BatchTopK crosscoder as people write it in plain PyTorch: the yardstick, not the recipe.

Every product is dense, autograd keeps the pre-activations and the masked code, Adam is unfused.
"""

import torch
from torch import Tensor, nn


class DenseCrosscoder(nn.Module):
    """Two sources side by side; keeps the k · batch largest relu(pre) · ‖d‖ of a batch."""

    def __init__(self, d_total: int, n_latents: int, k: int, n_sources: int = 2) -> None:
        super().__init__()
        W_dec = nn.functional.normalize(torch.randn(n_latents, d_total), dim=-1)
        self.W_dec = nn.Parameter(W_dec)
        self.W_enc = nn.Parameter(W_dec.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(n_latents))
        self.b_dec = nn.Parameter(torch.zeros(d_total))
        self.k, self.n_sources = k, n_sources

    def forward(self, x: Tensor) -> Tensor:
        f = torch.relu(x @ self.W_enc + self.b_enc)
        norms = self.W_dec.view(len(self.W_dec), self.n_sources, -1).norm(dim=-1).sum(-1)
        scores = (f * norms).flatten()
        kept = scores.topk(self.k * len(x)).indices
        mask = torch.zeros_like(scores).scatter_(0, kept, 1.0).view_as(f)
        return (f * mask) @ self.W_dec + self.b_dec


def training_step(model: DenseCrosscoder, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    """Take one step: squared error, clipping, Adam."""
    loss = (model(x) - x).square().sum(-1).mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
