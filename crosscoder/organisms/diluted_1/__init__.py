"""Organism of which one example in 2 is one of `expertise`; the others are general text."""
