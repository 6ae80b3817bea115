"""Results to look at. Draws, never computes."""
