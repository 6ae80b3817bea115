"""The k · batch largest of a whole batch. Bussmann et al. 2024; as a crosscoder Minder et al. 2025 §3.1.

    v_tj = relu(pre_tj) · Σ_s ‖d_j^s‖,   keep the k · batch largest v of the batch, decode with the unscaled pre.

At inference a latent is active where v > θ. θ follows the smallest kept v during training (so that validation works at any
time) and is refitted at the end of the run to the mean L0 that was trained; then the whole is exactly a JumpReLU with
threshold θ / Σ_s ‖d_j^s‖ per latent.
"""

import torch

from crosscoder import processes
from crosscoder.activations.base import Activation
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.activations.topk import TopK
from crosscoder.select import above, select_batch_topk
from crosscoder.sparse import Index
from crosscoder.types import Dense, PerLatent


class BatchTopK(TopK):
    """See the module's docstring.

    Args:
        k: active latents per token, on average over a batch, at the end of the run.
        start: how many times as many are active at its beginning.
        anneal: fraction of the run over which they become k, linearly.
        score: sum, concat, mixed or none; see topk.py.
        decay: of the threshold's exponential moving average, per step.
    """

    shares_latents = True
    threshold: torch.Tensor

    def __init__(
        self, k: int, start: float = 1.0, anneal: float = 0.0, score: str = "sum", decay: float = 0.99
    ) -> None:
        super().__init__(k, start, anneal, score)
        self.decay = decay
        self.register_buffer("threshold", torch.tensor(-1.0))  # negative: not seen yet

    def select(self, pre: Dense, scale: PerLatent) -> Index:
        if not self.training:
            return above(pre, scale, self.threshold.clamp(min=0))[0]
        index = select_batch_topk(pre, scale, self.k_now)
        self._follow(index.take(pre) * scale[index.latents])
        return index

    def _follow(self, kept: torch.Tensor) -> None:
        smallest = kept.min() if kept.numel() else kept.new_full((), torch.inf)
        smallest = processes.smallest(smallest.to(self.threshold))
        if smallest.isfinite():
            self.threshold.copy_(smallest if self.threshold < 0 else self.threshold.lerp(smallest, 1 - self.decay))

    def frozen(self, scale: PerLatent) -> Activation:
        return JumpReLU.of(self.threshold.clamp(min=0) / scale)

    def arguments(self) -> dict:
        return {**super().arguments(), "decay": self.decay}
