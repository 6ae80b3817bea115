"""What a loss term is: one argument in, one scalar out. The loss is the weighted sum that is logged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.model import Crosscoder, Output
from crosscoder.types import Acts, Dense, PerLatent


@dataclass(frozen=True)
class LossInput:
    """Everything a term may look at, in training units."""

    acts: Acts
    output: Output
    crosscoder: Crosscoder
    dead: Tensor
    """[n_latents] bool: has not fired for long."""
    progress: float
    """Fraction of the run that is over."""
    mean: Callable[..., Tensor]
    """As `torch.mean`, over the batch of all processes."""
    penalty: PerLatent | None = None
    """[n_latents]: by what sparsity penalties are multiplied; None: 1."""

    def penalised(self, weights: PerLatent) -> PerLatent:
        """Weights [n_latents] of a sparsity penalty, with what constraints and an L0 aimed at say of them."""
        return weights if self.penalty is None else weights * self.penalty

    @property
    def every_pre(self) -> Dense:
        """All pre-activations, [batch, n_latents]."""
        if self.output.every_pre is None:
            raise UserError("this loss asks for pre-activations that the activation does not keep")
        return self.output.every_pre


@runtime_checkable
class Term(Protocol):
    """A loss term: `weight` is its share of the total (a number, or a function of progress).

    It may say of itself, for `training.recipe`: `penalises = True`, that it makes codes sparse; `needs`, what the activation
    has to learn for it; `claims`, which latents it gives a part to; `shares_latents = True`, that it can be computed where each
    process has some of the latents.
    """

    weight: float

    def __call__(self, given: LossInput) -> Tensor:
        """The unweighted scalar."""
        ...


def total(terms: Mapping[str, Term], given: LossInput) -> tuple[Tensor, dict[str, Tensor]]:
    """The very sum of weighted terms that is trained on, and its summands by name."""
    parts = {name: term.weight * term(given) for name, term in terms.items()}
    return sum(parts.values()), parts  # type: ignore[return-value]


def ramp(progress: float, warmup: float) -> float:
    """0 at the beginning of the run, 1 after its first `warmup`."""
    return min(1.0, progress / warmup) if warmup else 1.0
