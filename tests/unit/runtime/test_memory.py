"""Freed memory stays in the process until the context ends, as the C library itself counts it.

Pages are large if they are asked for before torch is imported.
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crosscoder.runtime.memory import request_large_pages, retain_freed_memory

BLOCK = 64_000_000  # bytes: above the 32 MB from which the C library always asks the system
# in a process of its own, because the C library's settings are of the whole process
COUNT = f"""
import ctypes
import json
from crosscoder.runtime.memory import retain_freed_memory

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()

class Info(ctypes.Structure):  # glibc's <malloc.h>
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
counts = []

def count():
    info = libc.mallinfo2()
    counts.append({{"mapped": info.hblkhd, "heap": info.arena, "free": info.fordblks}})

def allocate_and_free():
    block = libc.malloc({BLOCK})
    count()
    libc.free(block)
    count()

count()
with retain_freed_memory():
    allocate_and_free()
    with retain_freed_memory():
        pass  # its end must not end the context around it
    allocate_and_free()
count()
allocate_and_free()
print(json.dumps(counts))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="the counts of Linux's C library, from version 2.33",
)
def test_a_freed_block_stays_in_the_heap_until_the_context_ends():
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, timeout=120
    )
    before, held, freed, held_again, freed_again, after, held_after, freed_after = json.loads(
        done.stdout
    )
    for inside in (held, freed, held_again, freed_again):
        assert inside["mapped"] == before["mapped"]  # no block is mapped for itself
        assert inside["heap"] == held["heap"] > BLOCK  # the second block is the first one
    assert freed["free"] > BLOCK
    assert freed_again["free"] > BLOCK
    # in the end it is returned, and the C library maps large blocks as it did before
    assert after["heap"] < before["heap"] + BLOCK // 2
    assert held_after["mapped"] >= before["mapped"] + BLOCK
    assert freed_after["mapped"] == before["mapped"]


def test_the_block_runs_and_errors_pass_through():
    with pytest.raises(KeyError), retain_freed_memory():
        raise KeyError


def test_large_pages_are_asked_for_unless_they_are_refused(monkeypatch):
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    request_large_pages()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    request_large_pages()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"


SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
COUNT_LARGE_PAGES = """
from crosscoder.cli import start

start.request_large_pages()
import torch

numbers = torch.ones(50_000_000)
with open("/proc/self/smaps_rollup") as rollup:
    (line,) = [line for line in rollup if line.startswith("AnonHugePages:")]
print(line.split()[1])
"""


@pytest.mark.skipif(
    not SWITCH.exists() or "[never]" in SWITCH.read_text(), reason="this system has no large pages"
)
def test_a_large_tensor_has_large_pages():
    command = [sys.executable, "-c", COUNT_LARGE_PAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) > 100_000  # kB
