"""Corpora: documents from files, the hub, and Python's own documentation."""
