"""Kernels for the CPU with a selection in C++, which is compiled when it is first used.

torch needs four passes over the scores to find the few that exceed a bound (product, comparison,
positions, values); compiled.cpp needs two. The sums are those of `embedding`.

A process that selects compiles the file once, in less than a second, into a temporary folder. This
needs a C++ compiler with OpenMP (`CXX`, or g++, clang++ or c++ on the path), and no headers of
torch or Python.
"""

import ctypes
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from crosscoder.core.kernels import embedding
from crosscoder.core.kernels.embedding import bag, dots
from crosscoder.errors import plain

__all__ = ["bag", "can_compile", "dots", "list_above"]

log = logging.getLogger(__name__)
SOURCE = Path(__file__).with_name("compiled.cpp")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-std=c++17")
COMPILERS = ("g++", "clang++", "c++")
TIMEOUT = 60  # seconds
SUFFIXES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def can_compile() -> bool:
    """Return whether the kernels can be compiled here; if not, one line says why."""
    return _load_library() is not None


def list_above(pre: Tensor, scale: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the entries of `embedding.list_above`, bit for bit."""
    library = _load_library()
    is_supported = pre.dtype in SUFFIXES and scale.dtype == torch.float32
    if library is None or not is_supported:
        return embedding.list_above(pre, scale, bounds)
    suffix = SUFFIXES[pre.dtype]
    inputs = (pre.contiguous(), scale.contiguous(), bounds.float().contiguous())
    n_threads = torch.get_num_threads()
    # new_empty, since torch's default device and dtype can be others
    counts = pre.new_empty(len(pre), dtype=torch.int64)
    _call(library, f"count_{suffix}", (*inputs, *pre.shape, counts), n_threads)
    starts = counts.cumsum(0) - counts
    n_entries = int(counts.sum())
    latents = pre.new_empty(n_entries, dtype=torch.int64)
    scores = pre.new_empty(n_entries, dtype=torch.float32)
    outputs = (latents, scores)
    _call(library, f"list_{suffix}", (*inputs, *pre.shape, starts, *outputs), n_threads)
    rows = torch.repeat_interleave(counts, output_size=n_entries)
    return rows, latents, scores


def _call(
    library: ctypes.CDLL, name: str, arrays_and_sizes: Sequence[Tensor | int], n_threads: int
) -> None:
    """Call a function of the library. Its arrays have to stay alive until it returns."""
    converted = []
    for argument in arrays_and_sizes:
        if isinstance(argument, int):
            converted.append(ctypes.c_int64(argument))
        else:
            converted.append(ctypes.c_void_p(argument.data_ptr()))
    getattr(library, name)(*converted, ctypes.c_int(n_threads))


@cache
def _load_library() -> ctypes.CDLL | None:
    """Compile the source file and load the result; None, after a line that says why, if it fails.

    Nothing is kept on disk, because code for one processor may not run on another one that shares
    the disk.
    """
    compiler = _find_compiler()
    if compiler is None:
        log.warning("selection runs in torch, which is slower: there is no C++ compiler")
        return None
    # Windows does not delete a library that is in use
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "compiled.so"
        command = [compiler, *FLAGS, str(SOURCE), "-o", str(path)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
            return ctypes.CDLL(str(path))
        except (OSError, subprocess.SubprocessError) as error:
            reason = plain(getattr(error, "stderr", None) or error)
            log.warning("selection runs in torch, which is slower: %s: %s", compiler, reason)
            return None


def _find_compiler() -> str | None:
    for name in (os.environ.get("CXX"), *COMPILERS):
        if name and shutil.which(name):
            return name
    return None
