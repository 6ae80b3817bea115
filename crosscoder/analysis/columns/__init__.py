"""Columns of the LatentTable, one group per file."""
