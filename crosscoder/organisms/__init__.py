"""Finetuned models whose difference from their base is known, because it was planted."""
