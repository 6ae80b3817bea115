"""Estimate of a large run: data-sheet limits times measured multiples of them.

A pair of 9-billion-parameter models, a billion tokens, a million latents, by default. Floors are
FLOPs and bytes over an H100's data sheet; `docs/benchmarks/` says by how much our training step,
harvest and memory exceed their floors where they could be measured. A GPU could not be: that the
multiples carry over is the plan's assumption, and so is the share of a data sheet that large
products and forward passes reach.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import arguments, write
from crosscoder.report.terminal.tables import show

MEASURED = Path(__file__).parents[1] / "docs" / "benchmarks"


@dataclass(frozen=True)
class Hardware:
    """An H100 SXM by its data sheet, eight of them in a node, and a usual share of its peak."""

    flops: float = 989e12  # bf16, dense
    memory: float = 80e9
    memory_rate: float = 3.35e12
    link_rate: float = 450e9  # NVLink, each way
    network_rate: float = 50e9  # 400 Gbit/s
    disk_rate: float = 6e9  # NVMe, read
    gpus: int = 8
    share: float = 0.5  # of `flops` that large products and forward passes reach


def measured(name: str) -> list[dict]:
    """Read the rows of a benchmark."""
    return json.loads((MEASURED / f"{name}.json").read_text())["rows"]


def rows(args) -> list[dict[str, str | float]]:
    """Every quantity with its unit and where it comes from."""
    h = Hardware()
    step = min(row["ours_over_floor"] for row in measured("train_step"))
    harvest = min(row["ours_over_bare"] for row in measured("harvest"))
    memory = max(row["peak_over_unavoidable"] for row in measured("memory"))
    d_total, n, tokens, k, batch = (
        2 * args.d_model,
        args.n_latents,
        args.tokens,
        args.k,
        args.batch,
    )
    weights = 2 * n * d_total
    n_steps = tokens / batch
    # forward passes up to the layer: 2 FLOPs per weight and token, two models
    forward = 2 * 2 * args.lm_weights * args.depth
    harvest_hours = tokens * forward / (h.flops * h.share) / harvest / 3600
    # a step: the encoder's product; weights, moments and gradients through memory once each way;
    # the sparse sums
    product = 2 * n * d_total * tokens / (h.flops * h.share)
    adam = n_steps * weights * 28 / h.memory_rate
    sparse = tokens * 4 * k * d_total * 4 / h.memory_rate
    select = tokens * 3 * 2 * n / h.memory_rate
    train_hours = step * (product + adam + sparse + select) / 3600
    wall = train_hours / h.gpus
    state = memory * (16 * weights + 2 * batch * n)
    per_token = 2 * d_total
    reduced = 2 * 4 * batch * d_total * 2  # reconstruction and aux-k's, there and back in a ring
    gathered = (
        4 * 1.5 * k * batch + per_token * batch
    )  # candidates' scores, and the batch, of which each reads a part
    wire = n_steps * (reduced + gathered) / h.link_rate / 3600
    rate = tokens / (wall * 3600)
    table = [
        ("weights of the crosscoder", weights / 1e9, "billion", "2 · n_latents · d_total"),
        ("state of training", state / 1e9, "GB", f"16 bytes a weight, × {memory:.2f} (memory)"),
        ("devices that hold it", state / h.memory, "of 80 GB", "parallel=latents"),
        (
            "harvest",
            harvest_hours,
            "GPU-hours",
            f"both models to the layer, ÷ {harvest:.2f} (harvest)",
        ),
        ("training: arithmetic", product / 3600, "GPU-hours", "one product, bf16"),
        (
            "training: weights through memory",
            adam / 3600,
            "GPU-hours",
            "28 bytes a weight and step",
        ),
        ("training: sparse sums, selection", (sparse + select) / 3600, "GPU-hours", "bytes"),
        ("training in all", train_hours, "GPU-hours", f"their sum × {step:.2f} (train_step)"),
        ("training on one node", wall, "hours", f"{h.gpus} GPUs"),
        ("its messages", wire, "hours", "reconstruction summed, scores gathered, NVLink"),
        ("the same between nodes", wire * h.link_rate / h.network_rate, "hours", "400 Gbit/s"),
        ("activations, exact", tokens * per_token / 1e12, "TB", "bf16, two models"),
        ("activations, int8", tokens * per_token / 2e12, "TB", "harvest.storage=int8"),
        (
            "read while training",
            rate * per_token / 1e9,
            "GB/s",
            f"exact; NVMe gives {h.disk_rate / 1e9:.0f}",
        ),
        ("a stream's buffer", args.buffer * per_token / 1e9, "GB", "data.buffer_tokens"),
        ("a device, streaming: state", state / h.gpus / 1e9, "GB", f"{h.gpus} GPUs"),
        (
            "a device, streaming: both models",
            2 * args.lm_bytes / 1e9,
            "GB",
            "bf16, with embeddings",
        ),
        (
            "harvest, then training",
            (harvest_hours + train_hours) / h.gpus,
            "hours",
            f"{h.gpus} GPUs",
        ),
    ]
    return [dict(zip(("what", "figure", "unit", "from"), row, strict=True)) for row in table]


def main() -> None:
    """Compute and report."""
    args = arguments(
        str(__doc__),
        tokens={"type": float, "default": 1e9, "help": "trained on, once"},
        n_latents={"type": int, "default": 2**20, "help": "size of the dictionary"},
        k={"type": int, "default": 100, "help": "active latents per token"},
        batch={"type": int, "default": 8192, "help": "tokens of a step"},
        d_model={"type": int, "default": 3584, "help": "of each model: Gemma 2 9B"},
        lm_weights={"type": float, "default": 8.32e9, "help": "of a model, without embeddings"},
        lm_bytes={"type": float, "default": 18.5e9, "help": "of a model in bfloat16"},
        depth={"type": float, "default": 0.5, "help": "of the layer that is read"},
        buffer={"type": float, "default": 2e6, "help": "tokens of a stream's buffer"},
    )
    made = rows(args)
    show("A large run on paper", made)
    if args.json:
        write(
            args.json,
            "A large run on paper",
            made,
            "cpu",
            tables={"A pair, a billion tokens, a million latents": made},
        )


if __name__ == "__main__":
    main()
