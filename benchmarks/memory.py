"""Peak memory of our training step against what it cannot do without.

unavoidable = weights + gradients + two Adam moments (fp32) + one batch of pre-activations (bf16)
peak = resident memory at its highest, less what it was before construction (CUDA: allocated at its
highest)
"""

from pathlib import Path

import torch

from benchmarks.measure import alone, arguments, report
from benchmarks.train_step import Size, ours
from crosscoder.runtime.memory import retain_freed_memory


def resident(what: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at their highest."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[what].split()[0])


def peak(size: Size, steps: int) -> int:
    """Bytes that construction and some steps took, in a process of their own."""
    torch.randn(64, 64, device=size.device) @ torch.randn(
        64, 64, device=size.device
    )  # libraries load at first use
    before = resident("VmRSS")
    with retain_freed_memory():
        step = ours(size)["ours"]
        for _ in range(steps):
            step()
    return torch.cuda.max_memory_allocated() if size.device != "cpu" else resident("VmHWM") - before


def count_unavoidable(size: Size) -> int:
    """Bytes of weights, gradients, Adam's moments and one batch of pre-activations."""
    parameters = 2 * size.n_latents * 2 * size.width + size.n_latents + 2 * size.width
    return 4 * 4 * parameters + 2 * size.batch * size.n_latents


def row(size: Size, steps: int) -> dict[str, float]:
    """One size, in MB."""
    taken = alone(peak, size, steps)
    unavoidable = count_unavoidable(size)
    return {
        "n_latents": size.n_latents,
        "peak_mb": taken / 1e6,
        "unavoidable_mb": unavoidable / 1e6,
        "peak_over_unavoidable": taken / unavoidable,
    }


def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        n_latents={
            "type": int,
            "nargs": "+",
            "default": [8192, 16384, 32768],
            "help": "sizes of the dictionary",
        },
        width={"type": int, "default": 640, "help": "of each of two sources"},
        k={"type": int, "default": 32, "help": "active latents per token"},
        batch={"type": int, "default": 2048, "help": "tokens"},
        steps={"type": int, "default": 10, "help": "training steps"},
    )
    sizes = [Size(n, args.width, args.k, args.batch, args.device) for n in args.n_latents]
    rows = [row(size, args.steps) for size in sizes]
    report("Peak memory of a training step", rows, args.json, args.device)


if __name__ == "__main__":
    main()
