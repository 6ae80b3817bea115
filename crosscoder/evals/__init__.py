"""Evals: each looks at a saved crosscoder and held-out data, and gives a Result. One per file, one YAML each."""

from crosscoder.evals.base import Eval, Result, Subject

__all__ = ["Eval", "Result", "Subject"]
