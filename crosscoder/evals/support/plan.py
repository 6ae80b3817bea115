"""Say before evals begin which need language models or train crosscoders, and how long it takes.

The duration follows from the rate at which the crosscoder itself was trained (`tokens_per_second`
in metrics.json).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from crosscoder.errors import UserError
from crosscoder.evals.context import EvalContext


@runtime_checkable
class TrainsCrosscoders(Protocol):
    """An eval that trains other crosscoders."""

    def count_training_tokens(self, context: EvalContext, own_tokens: int) -> Sequence[int]:
        """Return the number of training tokens of each crosscoder that the eval trains.

        Those that an earlier evaluation kept are not trained again (kept.py).

        Args:
            context: Context of the eval.
            own_tokens: Training tokens of the crosscoder that is evaluated.
        """
        ...


@runtime_checkable
class NeedsModels(Protocol):
    """An eval that may need the language models."""

    def needs_models(self, context: EvalContext) -> bool:
        """Return whether the eval needs the language models for this crosscoder."""
        ...


@dataclass(frozen=True)
class Plan:
    """What evals are going to do.

    Args:
        tokens: For each eval, the training tokens of each crosscoder that it trains.
        tokens_per_second: Rate of the run's own training; None if it is unknown.
        with_models: Names of the evals that need the language models.
    """

    tokens: Mapping[str, Sequence[int]]
    tokens_per_second: float | None
    with_models: Collection[str] = ()

    @property
    def has_training(self) -> bool:
        """Whether any eval trains a crosscoder."""
        return any(self.tokens.values())

    @property
    def trains_nothing(self) -> list[str]:
        """The evals that train no crosscoder."""
        return [name for name, tokens in self.tokens.items() if not tokens]

    def describe(self) -> list[tuple[str, str]]:
        """Return the name of each eval, and what it needs and trains."""
        lines = []
        for name, tokens in self.tokens.items():
            models = "needs the language models" if name in self.with_models else ""
            parts = [models, self._describe_tokens(tokens)]
            lines.append((name, "; ".join(filter(None, parts))))
        return lines

    def describe_total(self) -> str:
        """Return what all evals together train, e.g. `4 crosscoders, about 25 min (nulls)`."""
        every = [n for tokens in self.tokens.values() for n in tokens]
        names = [name for name, tokens in self.tokens.items() if tokens]
        return f"{_count(every)}, {self._describe_duration(every)} ({', '.join(names)})"

    def _describe_tokens(self, tokens: Sequence[int]) -> str:
        if not tokens:
            return ""
        sizes = {f"{n:,}" for n in tokens}
        size = f"{sizes.pop()} tokens"
        if sizes:
            size = f"{sum(tokens):,} tokens in all"
        return f"trains {_count(tokens)} ({size}), {self._describe_duration(tokens)}"

    def _describe_duration(self, tokens: Sequence[int]) -> str:
        if not self.tokens_per_second:
            return "how long is unknown: the run's rate is not in its metrics.json"
        return format_minutes(sum(tokens) / self.tokens_per_second)


def plan_evals(
    evals: Mapping[str, Any], context: EvalContext, tokens_per_second: float | None
) -> Plan:
    """Find out what evals are going to train. What cannot be trained is left out."""
    tokens: dict[str, Sequence[int]] = dict.fromkeys(evals, ())
    trainers = {name: one for name, one in evals.items() if isinstance(one, TrainsCrosscoders)}
    for name, trainer in trainers.items():
        try:
            context.open_stores()
            own_tokens = context.load_recipe().train_tokens if context.load_recipe else 0
            tokens[name] = trainer.count_training_tokens(context, own_tokens) if own_tokens else ()
        except UserError:  # the eval itself will give the reason
            continue
    return Plan(tokens, tokens_per_second, _list_with_models(evals, context))


def _list_with_models(evals: Mapping[str, Any], context: EvalContext) -> list[str]:
    """List the evals that need the language models."""
    names = []
    for name, one in evals.items():
        try:
            if isinstance(one, NeedsModels) and one.needs_models(context):
                names.append(name)
        except UserError:  # the eval itself will give the reason
            continue
    return names


def format_minutes(seconds: float) -> str:
    """Return an estimated duration: `about 25 min`, `about 2 h 10 min` or `less than 1 min`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than 1 min"
    if minutes < 120:
        return f"about {minutes} min"
    return f"about {minutes // 60} h {minutes % 60} min"


def _count(tokens: Sequence[int]) -> str:
    return f"{len(tokens)} crosscoder{'s' if len(tokens) != 1 else ''}"
