"""Start the commands: `crosscoder-train`, train.py and their like.

Signals are handled first, since the imports of a command take time, and torch's memory is set up
before torch is imported. So this module imports nothing else.
"""

from crosscoder.runtime.memory import request_large_pages
from crosscoder.runtime.signals import listen


def train() -> None:
    """Start `crosscoder-train` or train.py."""
    listen()
    request_large_pages()
    from crosscoder.cli.train import main

    main()


def evaluate() -> None:
    """Start `crosscoder-evaluate` or evaluate.py."""
    listen()
    request_large_pages()
    from crosscoder.cli.evaluate import main

    main()


def report() -> None:
    """Start `crosscoder-report`."""
    listen()
    from crosscoder.report.__main__ import main

    main()


def formats() -> None:
    """Start `crosscoder-formats`."""
    listen()
    from crosscoder.formats.__main__ import main

    main()
