"""Loss terms, one per file; `total` adds them up."""

from crosscoder.losses.base import LossInput, Term, total

__all__ = ["LossInput", "Term", "total"]
