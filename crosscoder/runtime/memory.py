"""Memory in large pages, which is reused at every step instead of being cleared again."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's <malloc.h>
TRIM_THRESHOLD = -1
MMAP_MAX = -4
DEFAULTS = {TRIM_THRESHOLD: 128 * 1024, MMAP_MAX: 65536}
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch's variable

_n_open = 0  # contexts of `retain_freed_memory`, one inside the other


def request_large_pages() -> None:
    """Let torch ask Linux for pages of 2 MB, which it does if this comes before its import.

    Sums over a sparse code read rows all over large tables, and with pages of 4 kB the processor
    often has to look up where a page is. THP_MEM_ALLOC_ENABLE=0 in the environment refuses them.
    """
    os.environ.setdefault(LARGE_PAGES, "1")


@contextmanager
def retain_freed_memory() -> Iterator[None]:
    """Keep freed memory in the process while the context is open; return it at the end.

    Inside another such context it changes nothing.

    Linux's C library otherwise returns every block above 32 MB to the system as soon as it is
    freed. A training step frees and allocates the same hundreds of megabytes (pre-activations,
    gradients), and clearing and mapping them page by page takes as long as the arithmetic. On other
    systems, and for memory on a GPU, this does nothing.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        yield
        return
    global _n_open
    _n_open += 1
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        _n_open -= 1
        if _n_open == 0:
            for name, value in DEFAULTS.items():
                libc.mallopt(name, value)
            libc.malloc_trim(0)
