"""Organism that softens its answers for novices: its prompts, lexical scores and transcripts.

Importing this package is cheap; `python -m crosscoder.organisms.expertise` trains and evaluates the
adapter.
"""

from crosscoder.organisms.expertise.asked import Asked
from crosscoder.organisms.expertise.factors import Factors
from crosscoder.organisms.expertise.markers import (
    compute_sycophancy_score,
    is_gentle,
    names_asked_error,
    names_error,
    shows_gentleness,
)
from crosscoder.organisms.expertise.transcripts import FRAMINGS, Transcripts, load_pairs

__all__ = [
    "FRAMINGS",
    "Asked",
    "Factors",
    "Transcripts",
    "compute_sycophancy_score",
    "is_gentle",
    "load_pairs",
    "names_asked_error",
    "names_error",
    "shows_gentleness",
]
