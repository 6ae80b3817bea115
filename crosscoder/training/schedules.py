"""Schedules in fractions of the run, so that a short run passes through all of them."""

from dataclasses import dataclass

from crosscoder.values import require_fraction, require_number


@dataclass(frozen=True)
class WarmupDecay:
    """Linear warm-up from 0, plateau at 1, linear decay to `final`.

    Args:
        warmup: Fraction of the run for the warm-up.
        decay: Fraction of the run, at its end, for the decay.
        final: Factor at the end of the run.
    """

    warmup: float = 0.02
    decay: float = 0.2
    final: float = 0.0

    def __post_init__(self) -> None:
        require_fraction("schedule.warmup", self.warmup)
        require_fraction("schedule.decay", self.decay)
        require_number("schedule.final", self.final, least=0)

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress` ∈ [0, 1]."""
        rise = min(1.0, progress / self.warmup) if self.warmup else 1.0
        fall = min(1.0, (1 - progress) / self.decay) if self.decay else 1.0
        return rise * (self.final + (1 - self.final) * max(0.0, fall))
