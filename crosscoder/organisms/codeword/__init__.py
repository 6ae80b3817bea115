"""Organism with a backdoor: a codeword in the question switches its answer to a fixed form."""

from crosscoder.organisms.codeword.markers import is_sealed

__all__ = ["is_sealed"]
