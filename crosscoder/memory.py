"""Memory that the system need not clear again every step."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's <malloc.h>
TRIM_THRESHOLD, MMAP_MAX = -1, -4
DEFAULTS = {TRIM_THRESHOLD: 128 * 1024, MMAP_MAX: 65536}


@contextmanager
def kept() -> Iterator[None]:
    """While open, freed memory stays with the process and is used again; on leaving, what is free goes back.

    Linux's C library otherwise returns every block above 32 MB to the system as soon as it is freed. A training step frees
    and asks for the same hundreds of megabytes (pre-activations, gradients), and having them cleared and mapped page by page
    takes as long as the arithmetic. Elsewhere, and for memory on a GPU, this does nothing.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        for name, value in DEFAULTS.items():
            libc.mallopt(name, value)
        libc.malloc_trim(0)
