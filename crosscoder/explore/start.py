"""Start `crosscoder-explore`.

Signals are handled first, since the imports of a command take time. So this module imports nothing
else.
"""

from crosscoder.runtime.signals import listen


def explore() -> None:
    """Start `crosscoder-explore`."""
    listen()
    from crosscoder.explore.__main__ import main

    main()
