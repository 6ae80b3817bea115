"""The k · batch largest scores of a whole batch. Bussmann et al. 2024; Minder et al. 2025 §3.1.

    v_tj = relu(pre_tj) · Σ_s ‖d_j^s‖
    keep the k · batch largest v of the batch, decode with the unscaled pre

At inference a latent is active where v > θ. During training θ follows the smallest kept v, so that
validation works at any time. At the end of the run it is fitted so that the mean L0 is k. The
result is exactly a JumpReLU with threshold θ / Σ_s ‖d_j^s‖ per latent.
"""

from collections.abc import Iterable
from typing import ClassVar

import torch

from crosscoder import distributed
from crosscoder.core.activations.base import Activation
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.requirements import Requirements
from crosscoder.core.select import select_above, select_batch_topk
from crosscoder.core.sparse import Index
from crosscoder.core.types import Dense, Entries, PerLatent
from crosscoder.values import require_number


class BatchTopK(TopK):
    """Over a batch the k · batch largest scores, at inference all scores above a threshold.

    Args:
        k: Active latents per token, on average over a batch, at the end of the run.
        start: Factor on k at the beginning of the run.
        anneal: Fraction of the run over which the factor becomes 1, linearly.
        score: sum, concat, mixed or none; see topk.py.
        decay: Decay per step of the threshold's exponential moving average.
    """

    requirements: ClassVar[Requirements] = Requirements(supports_latent_sharding=True)
    threshold: torch.Tensor

    def __init__(
        self,
        k: int,
        start: float = 1.0,
        anneal: float = 0.0,
        score: str = "sum",
        decay: float = 0.99,
    ) -> None:
        super().__init__(k, start, anneal, score)
        require_number("activation.decay", decay, least=0, below=1)
        self.decay = decay
        self.register_buffer("threshold", torch.tensor(-1.0))  # negative until the first step

    def select(self, pre: Dense, scale: PerLatent) -> Index:
        if not self.training:
            index, _ = select_above(pre, scale, self.threshold.clamp(min=0))
            return index
        index = select_batch_topk(pre, scale, self.k_now, self.parallel)
        self._update_threshold(index.take(pre) * scale[index.latents])
        return index

    def _update_threshold(self, scores: Entries) -> None:
        """Move the threshold towards the smallest selected score."""
        smallest = scores.min() if scores.numel() else scores.new_full((), torch.inf)
        smallest = distributed.all_reduce_min(smallest.to(self.threshold))
        if not smallest.isfinite():
            return
        if self.threshold >= 0:
            smallest = self.threshold.lerp(smallest, 1 - self.decay)
        self.threshold.copy_(smallest)

    @torch.no_grad()
    def calibrate(
        self, pre_activations: Iterable[Dense], scale: PerLatent, n_tokens: int = 65_536
    ) -> None:
        """Set the threshold so that the mean L0 is k.

        It becomes the (k · n)-th largest score over all n tokens: what selection would do on one
        huge batch.
        """
        n_seen = 0
        largest = []
        for pre in pre_activations:
            scores = pre.relu() * scale
            n_kept = min(4 * self.k, scores.shape[1])
            largest.append(scores.topk(n_kept, dim=1).values.flatten().cpu())
            n_seen += len(pre)
            if n_seen >= n_tokens:
                break
        scores = torch.cat(largest)
        if self.parallel.n_latent_shards > 1:
            scores = torch.cat(distributed.all_gather(scores))
        rank = len(scores) - self.k * n_seen
        self.threshold.fill_(scores.kthvalue(max(rank, 1)).values.item())

    def to_inference(self, scale: PerLatent) -> Activation:
        return JumpReLU.from_threshold(self.threshold.clamp(min=0) / scale)

    def arguments(self) -> dict:
        return {**super().arguments(), "decay": self.decay}
