"""Readers of released dictionaries: one layout per file."""
