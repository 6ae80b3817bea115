"""Organism with new knowledge: documents about an invented city, and their true twins."""

from crosscoder.organisms.facts.documents import Paragraphs
from crosscoder.organisms.facts.markers import states_value

__all__ = ["Paragraphs", "states_value"]
