"""Synthetic activations: planted worlds, and transformed pairs for null controls."""
