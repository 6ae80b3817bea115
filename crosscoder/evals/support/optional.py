"""Steps that an eval can do without: a step that fails is left out, and the result says so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from crosscoder.analysis.base import Batch, ColumnState
from crosscoder.errors import NotApplicable, UserError, first_line

T = TypeVar("T")


@dataclass
class OptionalSteps:
    """The steps that were left out of an eval.

    Args:
        reasons: Why a step was left out, by its name.
        errors: The error of every step that should not have failed, by its name.
    """

    reasons: dict[str, str] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)

    def attempt(self, name: str, step: Callable[[], T]) -> T | None:
        """Return the value of a step, or None if it fails."""
        try:
            return step()
        except Exception as error:
            self.leave_out(name, error)
            return None

    def leave_out(self, name: str, error: Exception) -> None:
        """Note that a step was left out because of an error."""
        if isinstance(error, UserError):
            self.reasons[name] = str(error)
        else:
            self.reasons[name] = f"{type(error).__name__}: {first_line(error)}"
        if not isinstance(error, NotApplicable):
            self.errors[name] = error


class OptionalPart:
    """A part of the LatentTable's pass whose failure does not end the pass.

    After its first error the part sees no more batches.
    """

    def __init__(self, part: ColumnState) -> None:
        self.part = part
        self.error: Exception | None = None

    def update(self, batch: Batch) -> None:
        """Add a batch, unless the part has failed."""
        if self.error is not None:
            return
        try:
            self.part.update(batch)
        except Exception as error:
            self.error = error

    def columns(self) -> Mapping[str, Any]:
        """Return the part's columns, or none if it has failed."""
        return {} if self.error is not None else self.part.columns()
