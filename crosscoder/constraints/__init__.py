"""Constraints on a crosscoder's weights that hold after every step, one per file."""

from crosscoder.constraints.base import Constraint, penalties
from crosscoder.core.requirements import Requirements

__all__ = ["Constraint", "Requirements", "penalties"]
