"""Results that papers report of trainers, looked for on planted truth, where they can be checked.

python -m benchmarks.known --runs outputs/recovery --json docs/recovery/known.json

Each line compares two runs by one figure, as mean over seeds: what the paper says is larger, and
what it is larger than. All have the same tokens, latents, and active latents; exclusive is Δ > 0.9
(or < 0.1) on the decoders, as published.
"""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import arguments, write
from benchmarks.recovery import train
from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.table import LatentTable
from crosscoder.data import Store
from crosscoder.data.synthetic.planted import read_truth
from crosscoder.errors import exit_on_error
from crosscoder.evals.support.feature_recovery import FeatureRecovery
from crosscoder.formats import load
from crosscoder.report.terminal.tables import show


@dataclass(frozen=True)
class Judged:
    """A trained crosscoder with its table and what it recovers."""

    table: LatentTable
    found: FeatureRecovery

    @classmethod
    def of(cls, folder: Path) -> "Judged":
        crosscoder = load(folder)
        heldout = Store(crosscoder.provenance["heldout"])
        table = Analysis(n_resamples=10).make_table(crosscoder, heldout)
        return cls(table, FeatureRecovery(crosscoder, read_truth(heldout), table))

    def calls(self, side: str) -> dict[str, Any]:
        """Fraction of latents with Δ > 0.9 or Δ < 0.1."""
        return next(
            row
            for row in self.found.score_rules()
            if row["rule"] == "Δ > 0.9" and row["source"] == side
        )


def false_calls(judged: Judged) -> float:
    """Latents called exclusive to either side that are not."""
    return sum(
        (1 - row["precision"]) * row["called"]
        for row in (judged.calls("chat"), judged.calls("base"))
    )


def recall(judged: Judged) -> float:
    """Share of the exclusive features that are found and called, mean of both sides."""
    return float(np.mean([judged.calls(side)["recall"] for side in ("chat", "base")]))


def gap(judged: Judged) -> float:
    """Return the ratio of the median densities of exclusive and shared latents.

    Exclusive: R beyond 0.95; shared: R between 0.3 and 0.7.
    """
    R, density = judged.table["relative_norm"], judged.table["density"]
    alive = judged.table["n_active"] >= 10
    exclusive, shared = alive & (abs(R - 0.5) > 0.45), alive & (abs(R - 0.5) < 0.2)
    return (
        float(np.median(density[exclusive]) / np.median(density[shared]))
        if exclusive.any() and shared.any()
        else np.nan
    )


def vanished(judged: Judged) -> float:
    """Return the fraction of live latents with one decoder below a thousandth of the other."""
    norms = np.stack([judged.table["norm/base"], judged.table["norm/chat"]])
    alive = judged.table["n_active"] >= 10
    return float(((norms.min(0) < 1e-3 * norms.max(0)) & alive).sum() / alive.sum())


Run = tuple[str, str, int]  # variant, world, latents
CLAIMS: list[tuple[str, str, Callable[[Judged], float], Run, Run]] = [
    (
        "L1 makes more false exclusives than BatchTopK (Minder et al. 2025)",
        "false calls",
        false_calls,
        ("minder2025_l1", "hard", 1024),
        ("minder2025_batchtopk", "hard", 1024),
    ),
    (
        "dedicated latents find more exclusive features (arXiv 2602.11729)",
        "recall",
        recall,
        ("dfc2026", "under", 1024),
        ("minder2025_batchtopk", "under", 1024),
    ),
    (
        "and call more that are none",
        "false calls",
        false_calls,
        ("dfc2026", "under", 1024),
        ("minder2025_batchtopk", "under", 1024),
    ),
    (
        "exclusive latents fire more often where features outnumber latents "
        "(Mishra-Sharma et al. 2025)",
        "density, exclusive / shared",
        gap,
        ("lindsey2024", "toy_anthropic_under", 1024),
        ("lindsey2024", "toy_anthropic_over", 4096),
    ),
    (
        "the norm of the concatenation leaves no decoder at zero (Lindsey et al. 2024)",
        "decoders gone",
        vanished,
        ("lindsey2024", "hard", 1024),
        ("lindsey2024, concat", "hard", 1024),
    ),
]


@exit_on_error()
def main() -> None:
    """Train what is not there, measure, compare."""
    args = arguments(
        str(__doc__),
        runs={
            "type": Path,
            "default": Path("outputs/recovery"),
            "help": "folder where runs are kept",
        },
        seeds={"type": int, "default": 3, "help": "of world and weights"},
        first_seed={"type": int, "default": 10, "help": "as of benchmarks.recovery"},
        steps={"type": int, "default": 1500, "help": "of 1,024 tokens"},
        tokens={
            "type": int,
            "default": 200_000,
            "help": "drawn to train on; a quarter as many to judge on",
        },
        lr={"type": float, "default": 2e-3, "help": "of all"},
    )
    rows, judged, seeds = [], {}, range(args.first_seed, args.first_seed + args.seeds)
    for claim, title, figure, larger, smaller in CLAIMS:
        values = []
        for variant, world, n_latents in (larger, smaller):
            of = Namespace(**{**vars(args), "n_latents": n_latents})
            for seed in seeds:
                key = (variant, world, seed)
                judged[key] = judged.get(key) or Judged.of(
                    train(of, world, variant, "stage=all", seed)
                )
            values.append([figure(judged[variant, world, seed]) for seed in seeds])
        left, right = (np.array(v) for v in values)
        rows.append(
            {
                "reported": claim,
                "figure": title,
                "larger": f"{larger[0]}, {larger[1]}: {left.mean():.3g}",
                "than": f"{smaller[0]}, {smaller[1]}: {right.mean():.3g}",
                "in seeds": f"{int((left > right).sum())} of {len(left)}",
            }
        )
    show("Reported results on planted truth", rows)
    if args.json:
        write(
            args.json,
            "Reported results on planted truth",
            [],
            args.device,
            tables={"Reported, and found": rows},
        )


if __name__ == "__main__":
    main()
