"""Choose how many tokens one forward pass takes, by a trial.

Small passes stay in a CPU's caches; large ones keep a GPU busy. Activations do not depend on the
choice: a token's row of every matrix product is summed in the same order
(tests/unit/data/test_batch_trial.py).
"""

import logging
import time
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)
CANDIDATES = {"cpu": (1024, 2048, 4096)}
CANDIDATES_ELSEWHERE = (4096, 8192, 16384)
WORTHWHILE = 50  # a trial is made for this many times the tokens of its largest pass


def list_candidates(device_type: str) -> tuple[int, ...]:
    """Return the tokens per forward pass to try on a kind of device, in rising order."""
    return CANDIDATES.get(device_type, CANDIDATES_ELSEWHERE)


def choose_batch_tokens(
    run: Callable[[int], object], device_type: str, n_tokens: int, seq_len: int
) -> int:
    """Return the tokens per forward pass that are fastest on this machine.

    Each candidate runs on equally many tokens. For few tokens there is no trial, and the smallest
    candidate is returned.

    Args:
        run: Runs a forward pass on so many sequences, and waits for its end.
        device_type: "cpu", "cuda", …
        n_tokens: Tokens that are going to be read.
        seq_len: Tokens per sequence.
    """
    candidates = list_candidates(device_type)
    largest = candidates[-1]
    if n_tokens < WORTHWHILE * largest:
        return candidates[0]
    run(max(1, candidates[0] // seq_len))  # the first pass allocates memory
    seconds = {}
    for candidate in candidates:
        try:
            seconds[candidate] = _time_passes(run, candidate // seq_len, largest // seq_len)
        except torch.OutOfMemoryError:
            break
    log.debug("seconds by tokens per forward pass: %s", seconds)
    return min(seconds, key=seconds.__getitem__, default=candidates[0])


def _time_passes(run: Callable[[int], object], n: int, total: int) -> float:
    """Return the seconds that a sequence takes in passes of `n` sequences, measured on `total`."""
    n = max(1, n)
    n_passes = max(1, total // n)
    start = time.perf_counter()
    for _ in range(n_passes):
        run(n)
    return (time.perf_counter() - start) / (n_passes * n)
