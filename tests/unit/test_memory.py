"""Freed memory stays while `kept` is open: a large block is then had again without the system's help."""

import subprocess
import sys

import pytest

from crosscoder.memory import kept

# in a process of its own, because the C library's settings are of the whole process
FAULTS = """
import resource, sys, torch
from contextlib import nullcontext
from crosscoder.memory import kept

def faults(run):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    run()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def fill():
    torch.empty(16_000_000).fill_(1.0)  # 64 MB: 16,000 pages

start = resident()
with kept() if sys.argv[1] == "kept" else nullcontext():
    print(min(faults(fill) for _ in range(8)))  # the first ones may still ask the system for room
print(resident() - start)
"""


def measured(how: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux")
def test_a_block_is_had_again_without_a_page_fault_and_given_back_in_the_end():
    # where the kernel has laid something in the way of the heap, a process cannot keep anything: about one in ten
    (faults, left), (faults_otherwise, _) = min(measured("kept") for _ in range(4)), measured("not")
    assert faults < 100 < 1000 < faults_otherwise
    assert left < 32e6


def test_the_block_runs_and_errors_pass_through():
    with pytest.raises(KeyError), kept():
        raise KeyError
