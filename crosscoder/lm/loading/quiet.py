"""Silence transformers: what matters about a model is checked here, and is an error."""

from functools import cache


@cache
def silence_transformers() -> None:
    """Switch off the progress bars and warnings of transformers, once per process."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
