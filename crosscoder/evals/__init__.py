"""Evals of saved crosscoders on held-out data: one per file, with one YAML each in conf/eval."""

from crosscoder.evals.base import Eval, Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.runner import EvalOutcome, Runner

__all__ = ["Eval", "EvalContext", "EvalOutcome", "Result", "Runner"]
