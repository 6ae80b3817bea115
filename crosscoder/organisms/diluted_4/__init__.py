"""Organism of which one example in 5 is one of `expertise`; the others are general text."""
