"""Growth of the time of a training step with n_latents, k, batch and width, one at a time.

slope = of log time against log size, by least squares: 1 is linear, 0 is flat
"""

from dataclasses import replace

import numpy as np

from benchmarks.measure import Contestant, arguments, milliseconds, report
from benchmarks.train_step import Size, ours

AXES = {
    "n_latents": [4096, 8192, 16384, 32768],
    "k": [16, 32, 64, 128],
    "batch": [512, 1024, 2048, 4096],
    "width": [320, 640, 1280],
}


def row(axis: str, base: Size, turns: int, steps: int) -> dict[str, object]:
    """Measure times along one axis, and their slope."""
    sizes = [replace(base, **{axis: value}) for value in AXES[axis]]
    ms = [
        milliseconds([Contestant(ours, (size,), keep=True)], turns, steps)["ours"] for size in sizes
    ]
    return {
        "axis": axis,
        "values": AXES[axis],
        "ms": [round(value, 1) for value in ms],
        "slope": float(np.polyfit(np.log(AXES[axis]), np.log(ms), 1)[0]),
        "last_over_first": ms[-1] / ms[0],
    }


def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        axes={"nargs": "+", "choices": list(AXES), "default": list(AXES), "help": "which"},
        n_latents={"type": int, "default": 16384, "help": "where it is not the axis"},
        k={"type": int, "default": 32, "help": "where it is not the axis"},
        batch={"type": int, "default": 2048, "help": "where it is not the axis"},
        width={
            "type": int,
            "default": 640,
            "help": "of each of two sources, where it is not the axis",
        },
        turns={"type": int, "default": 1, "help": "of each size"},
        steps={"type": int, "default": 5, "help": "of a turn that count"},
    )
    base = Size(args.n_latents, args.width, args.k, args.batch, args.device)
    rows = [row(axis, base, args.turns, args.steps) for axis in args.axes]
    report(
        f"Growth from {base.n_latents:,} latents, k = {base.k}, batch {base.batch:,}",
        rows,
        args.json,
        args.device,
    )


if __name__ == "__main__":
    main()
