"""Interface of loss terms: one context in, one scalar out. The loss is their weighted sum."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from crosscoder.core.model import Crosscoder, Output
from crosscoder.core.requirements import Requirements
from crosscoder.core.types import Acts, Dense, PerLatent
from crosscoder.distributed import Parallel
from crosscoder.errors import UserError


@dataclass(frozen=True)
class LossContext:
    """Everything that a loss term may use, in training units."""

    acts: Acts
    output: Output
    crosscoder: Crosscoder
    dead: Tensor
    """[n_latents] bool: True for latents that have not fired for long."""
    progress: float
    """Fraction of the run that is over."""
    mean: Callable[..., Tensor]
    """`torch.mean` over the batch of all processes."""
    penalty: PerLatent | None = None
    """[n_latents]: factors on sparsity penalties; None stands for 1."""

    @property
    def parallel(self) -> Parallel:
        """Return how processes divide the step, for sums and selections over latents."""
        return self.crosscoder.parallel

    def penalty_weights(self, weights: PerLatent) -> PerLatent:
        """Return weights [n_latents] of a sparsity penalty times the penalty factors.

        The factors come from the constraints' discounts and from the L0 controller.
        """
        return weights if self.penalty is None else weights * self.penalty

    @property
    def every_pre(self) -> Dense:
        """Return all pre-activations, [batch, n_latents]."""
        if self.output.every_pre is None:
            raise UserError(
                "this loss needs all pre-activations, but the activation does not keep them: "
                "use activation=jumprelu or activation=gated"
            )
        return self.output.every_pre


@runtime_checkable
class Term(Protocol):
    """A loss term, weighted by `weight` in the loss (a number, or a function of progress)."""

    weight: float

    @property
    def requirements(self) -> Requirements:
        """Return what the term can be combined with; a class attribute will do."""
        ...

    def __call__(self, ctx: LossContext) -> Tensor:
        """Return the unweighted scalar."""
        ...


def total(terms: Mapping[str, Term], ctx: LossContext) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss, which is the sum of weighted terms, and its summands by name."""
    summands = {name: term.weight * term(ctx) for name, term in terms.items()}
    return sum(summands.values()), summands  # type: ignore[return-value]


def ramp(progress: float, warmup: float) -> float:
    """Return a factor that rises linearly from 0 to 1 over the first `warmup` of the run."""
    return min(1.0, progress / warmup) if warmup else 1.0
