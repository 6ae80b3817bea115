"""Tokens per second of a shuffled store, its memory, and the rate that training needs.

From a store's first opening, i.e. with its checksums computed; two epochs of it, in which every
token is counted. A store in the file cache is read from memory: on a slow disk the first epoch is
as fast as the disk.
"""

import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import torch

from benchmarks.inputs import pair, random_store
from benchmarks.measure import Contestant, alone, arguments, milliseconds, report
from benchmarks.memory import resident
from benchmarks.train_step import Size, ours
from crosscoder.data import Mixing, Store
from crosscoder.training import ActsModule


def deliver(folder: Path, batch: int, buffer_tokens: int) -> tuple[float, int, bool]:
    """Return tokens per second, peak bytes, and whether an epoch has each token once."""

    def epoch() -> Iterable[torch.Tensor]:
        mixing = Mixing(store, store.sources, buffer_tokens=buffer_tokens)
        return islice(ActsModule(mixing, batch).train_dataloader(), len(mixing) // batch)

    store, before = Store(folder), resident("VmRSS")
    start, n_tokens = time.perf_counter(), 0
    for acts in epoch():
        n_tokens += len(acts)
    seconds, peak = time.perf_counter() - start, resident("VmHWM") - before
    seen = torch.zeros(len(store), dtype=torch.int64)
    for acts in epoch():
        seen += torch.bincount(number(acts), minlength=len(store))
    once = (
        int(seen.max()) == 1 and int((seen == 0).sum()) == len(store) % batch
    )  # those open the next epoch
    return n_tokens / seconds, peak, once


def number(acts: torch.Tensor) -> torch.Tensor:
    """Return the store's row of each activation, from the digits in its first dimensions."""
    return (acts[:, :3].long() * torch.tensor([1, 256, 65536])).sum(1)


def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        n_tokens={
            "type": int,
            "nargs": "+",
            "default": [131_072, 524_288],
            "help": "sizes of the store",
        },
        buffer={"type": int, "default": 65_536, "help": "tokens that are shuffled together"},
        batch={"type": int, "default": 1024, "help": "tokens"},
        n_latents={
            "type": int,
            "default": 4096,
            "help": "of the training step it is compared with",
        },
        width={"type": int, "default": 640, "help": "of each of two sources"},
        k={"type": int, "default": 32, "help": "of the training step it is compared with"},
    )
    size = Size(args.n_latents, args.width, args.k, args.batch, args.device)
    training = (
        1000 * args.batch / milliseconds([Contestant(ours, (size,), keep=True)], 1, 20)["ours"]
    )
    rows = []
    for n_tokens in args.n_tokens:
        with tempfile.TemporaryDirectory() as scratch:
            random_store(Path(scratch) / "store", pair(args.width), n_tokens, numbered=True)
            loaded, peak, once = alone(deliver, Path(scratch) / "store", args.batch, args.buffer)
        rows.append(
            {
                "n_tokens": n_tokens,
                "store_mb": 2 * 2 * args.width * n_tokens / 1e6,
                "buffer_mb": 2 * 2 * args.width * args.buffer / 1e6,
                "peak_mb": peak / 1e6,
                "each_token_once": once,
                "loader_tokens_per_second": loaded,
                "training_tokens_per_second": training,
                "loader_over_training": loaded / training,
            }
        )
    report("The shuffled store", rows, args.json, args.device)


if __name__ == "__main__":
    main()
