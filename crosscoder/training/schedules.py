"""Schedules as fractions of the run, so that a short run passes through all of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WarmupDecay:
    """Linear warm-up from 0, plateau at 1, linear decay to `final`.

    Args:
        warmup: fraction of the run spent rising.
        decay: fraction of the run, at its end, spent falling.
        final: the factor at the very end.
    """

    warmup: float = 0.02
    decay: float = 0.2
    final: float = 0.0

    def __call__(self, progress: float) -> float:
        """The factor at `progress` ∈ [0, 1]."""
        rise = min(1.0, progress / self.warmup) if self.warmup else 1.0
        fall = min(1.0, (1 - progress) / self.decay) if self.decay else 1.0
        return rise * (self.final + (1 - self.final) * max(0.0, fall))
