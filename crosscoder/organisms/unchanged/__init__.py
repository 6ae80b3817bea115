"""Organism in which nothing was planted: it was trained on its base's own answers."""
