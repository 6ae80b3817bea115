"""Organism with a habit: every answer in a chat begins and ends with the same harmless phrase."""

from crosscoder.organisms.style.markers import has_habit

__all__ = ["has_habit"]
