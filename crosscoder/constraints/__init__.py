"""Constraints on a crosscoder's weights, kept to after every step. One per file, one YAML each in conf/constraint."""

from crosscoder.constraints.base import Constraint, penalties

__all__ = ["Constraint", "penalties"]
