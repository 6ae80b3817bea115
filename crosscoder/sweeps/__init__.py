"""Sweeps: a Hydra multirun that resumes its runs, and the Pareto table at its end."""

from crosscoder.sweeps.hydra import SweepTable, sweep_job
from crosscoder.sweeps.plugins import register_missing_plugins

__all__ = ["SweepTable", "sweep_job"]

register_missing_plugins()
