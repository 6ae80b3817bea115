"""Seconds and memory of the LatentTable of a store, with latent scaling and its bootstrap.

Random activations and weights: the work depends on how many latents are active, not on what they
mean. `scaling_seconds` is latent scaling alone, of codes that are there already; `table_seconds` is
everything from a store on disk to the LatentTable.
"""

import tempfile
import time
from pathlib import Path

import torch

from benchmarks.inputs import pair, random_store
from benchmarks.measure import alone, arguments, report
from benchmarks.memory import resident
from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.base import TableContext, encode_store
from crosscoder.analysis.columns.scaling import Scaling
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.data import Store
from crosscoder.runtime.memory import retain_freed_memory


def crosscoder_of(n_latents: int, width: int, k: int) -> Crosscoder:
    """Random weights; each token has k active latents."""
    return Crosscoder(pair(width), n_latents, TopK(k)).fold()


def scaling(folder: Path, n_latents: int, width: int, k: int) -> tuple[float, float]:
    """(seconds, bytes at their highest) of latent scaling alone."""
    store, crosscoder = Store(folder), crosscoder_of(n_latents, width, k)
    part = Scaling().start(TableContext(crosscoder, len(store)))
    seconds, before = 0.0, resident("VmRSS")
    with retain_freed_memory(), torch.no_grad():
        for batch in encode_store(crosscoder, store):
            start = time.perf_counter()
            part.update(batch)
            seconds += time.perf_counter() - start
        start = time.perf_counter()
        part.columns()
    return seconds + time.perf_counter() - start, resident("VmHWM") - before


def table(folder: Path, n_latents: int, width: int, k: int) -> tuple[float, float]:
    """(seconds, bytes at their highest) of the whole table."""
    store, crosscoder = Store(folder), crosscoder_of(n_latents, width, k)
    before, start = resident("VmRSS"), time.perf_counter()
    Analysis().make_table(crosscoder, store)
    return time.perf_counter() - start, resident("VmHWM") - before


def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        n_tokens={"type": int, "nargs": "+", "default": [50_000, 200_000], "help": "of the store"},
        n_latents={"type": int, "default": 4096, "help": "of the dictionary"},
        width={"type": int, "default": 640, "help": "of each of two sources"},
        k={"type": int, "default": 32, "help": "active latents per token"},
    )
    rows = []
    for n_tokens in args.n_tokens:
        with tempfile.TemporaryDirectory() as scratch:
            folder = random_store(Path(scratch) / "store", pair(args.width), n_tokens).folder
            size = (args.n_latents, args.width, args.k)
            (part_seconds, part_peak), (seconds, peak) = (
                alone(run, folder, *size) for run in (scaling, table)
            )
        rows.append(
            {
                "n_tokens": n_tokens,
                "n_latents": args.n_latents,
                "scaling_seconds": part_seconds,
                "scaling_peak_mb": part_peak / 1e6,
                "table_seconds": seconds,
                "table_peak_mb": peak / 1e6,
            }
        )
    report("Latent scaling of all latents", rows, args.json, args.device)


if __name__ == "__main__":
    main()
