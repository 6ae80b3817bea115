"""Choice of the kernels, which the package makes once for a process."""

from collections.abc import Iterator
from contextlib import contextmanager

from crosscoder.core import kernels


def forget_choice() -> None:
    """Let the environment be read again."""
    kernels.requested_backend.cache_clear()
    kernels.get_backend.cache_clear()


@contextmanager
def choose_anew() -> Iterator[None]:
    """Context manager: kernels are chosen anew inside, and again afterwards."""
    forget_choice()
    yield
    forget_choice()
