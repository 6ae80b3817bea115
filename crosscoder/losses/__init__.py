"""Loss terms, one per file; `total` adds them up."""

from crosscoder.core.requirements import Requirements
from crosscoder.losses.base import LossContext, Term, total

__all__ = ["LossContext", "Requirements", "Term", "total"]
