"""Trainers judged on planted truth: variants × worlds × seeds through train.py, all called by the same rules.

python -m benchmarks.recovery --worlds easy hard --seeds 3 --json docs/benchmarks/recovery.json

A variant is a published setting (conf/experiment) or `ours`, the default recipe. All see the same tokens with the same learning
rate, batch, and number of latents; those with a k have the world's own L0. A crosscoder with more latents active is also judged
sparser: its smallest entries left out until as many are active (`…, at k`). ± is half a 95 % interval of a t-test over seeds.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from scipy import stats

from benchmarks.measure import arguments, write
from crosscoder.data import Store
from crosscoder.data.planted import truth_of
from crosscoder.diff.analysis import Analysis
from crosscoder.diff.recovery import Recovery
from crosscoder.errors import UserError, one_line
from crosscoder.evals import Subject
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.evals.sparser import at_l0
from crosscoder.formats import load
from crosscoder.model import Crosscoder
from crosscoder.report.tables import show

TRAIN = Path(__file__).parents[1] / "train.py"
WORLDS = {"easy": 12, "hard": 12, "under": 16}  # and their L0
# the error is squared or not, so the penalty that gives an L0 is another one on other data
VARIANTS: dict[str, list[str]] = {
    "ours": [],
    "minder2025_batchtopk": ["experiment=minder2025_batchtopk"],
    "minder2025_l1": ["experiment=minder2025_l1", "loss.l1.weight=0.03"],
    "lindsey2024": ["experiment=lindsey2024", "loss.l1.weight=0.5"],
    "mishra_sharma2025": ["experiment=mishra_sharma2025", "loss.l1.weight=0.5"],
    "dfc2026": ["experiment=dfc2026", "activation.anneal=0.3", "activation.start=2.0"],
}
CLOSE = 1.02  # an L0 this much above k is judged sparser, too
FIGURES = ("l0", "dead_fraction", "fve/base", "fve/chat", "fve/difference")


def trained(variant: str, world: str, seed: int, given: Any, folder: Path) -> Crosscoder:
    """Through train.py, as a user would."""
    parts = {"n_tokens": given.tokens, "n_validation": given.tokens // 25, "n_heldout": given.tokens // 4}
    sizes = [f"{name}={n}" for name, n in parts.items()] + [f"train_tokens={given.steps * 1024}"]
    same = ["batch_size=1024", f"lr={given.lr}", f"n_latents={given.n_latents}", f"k={WORLDS[world]}", f"seed={seed}"]
    plain = [
        "models=tiny",
        "logger=none",
        "eval=[reconstruction]",
        f"data={world}",
        f"data.seed={seed}",
        f"run={folder}",
    ]
    settings = [*VARIANTS[variant], *sizes, *same, *plain, f"harvest.root={given.stores}"]
    done = subprocess.run([sys.executable, str(TRAIN), *settings], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{variant} on {world}: {done.stderr.strip().splitlines()[-1]}")
    return load(folder)


def judged(crosscoder: Crosscoder) -> dict[str, float]:
    """Every figure by name."""
    heldout = Store(crosscoder.provenance["heldout"])
    found = Recovery(crosscoder, truth_of(heldout), Analysis()(crosscoder, heldout))
    scalars = {
        k: v for k, v in ReconstructionEval()(Subject(crosscoder, heldout, None)).scalars.items() if k in FIGURES
    }
    scalars |= found.scalars()
    for row in found.judged():
        scalars |= {f"{row['rule']}, {row['source']}: {key}": row[key] for key in ("precision", "recall", "f1")}
    for row in found.ranked():
        scalars |= {f"{row['source']}: {key}": row[key] for key in ("ap", "auroc")}
    for row in found.by_decile():
        scalars |= {f"decile {row['decile']}: {key}": row[key] for key in ("found", "recalled")}
    return scalars


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval."""
    known = np.array([value for value in values if value == value])
    if len(known) < 2:
        return (float(known.mean()) if len(known) else float("nan")), float("nan")
    return float(known.mean()), float(stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5)


SHOWN = {
    "L0": "l0",
    "FVE base": "fve/base",
    "FVE difference": "fve/difference",
    "MCC": "mcc",
    "found chat": "found/chat_only",
    "AP chat": "chat: ap",
    "AUROC chat": "chat: auroc",
    "F1 chat, Δ > 0.9": "Δ > 0.9, chat: f1",
    "F1 chat, verdict": "verdict, chat: f1",
    "precision": "verdict, chat: precision",
}


def written(row: dict[str, Any], key: str) -> str:
    """`0.812 ± 0.010`."""
    half = row[f"{key} ±"]
    return f"{row[key]:.3f}" + (f" ± {half:.3f}" if half == half else "")


@one_line()
def main() -> None:
    """Train, judge, and print a table for each world."""
    variants = ["ours", "minder2025_batchtopk", "minder2025_l1"]
    given = arguments(
        str(__doc__),
        worlds={"nargs": "+", "choices": list(WORLDS), "default": ["easy", "hard"], "help": "conf/data"},
        variants={"nargs": "+", "choices": list(VARIANTS), "default": variants, "help": "conf/experiment"},
        seeds={"type": int, "default": 3, "help": "of world and weights"},
        steps={"type": int, "default": 3000, "help": "of 1,024 tokens"},
        tokens={"type": int, "default": 200_000, "help": "drawn to train on; a quarter as many to judge on"},
        lr={"type": float, "default": 1e-3, "help": "of all variants"},
        n_latents={"type": int, "default": 1024, "help": "of all variants"},
    )
    rows, shown = [], []
    with tempfile.TemporaryDirectory() as scratch:
        given.stores = Path(scratch) / "stores"
        for world in given.worlds:
            found = on_world(world, given, Path(scratch))
            rows += [{"variant": f"{name} on {world}", **row} for name, row in found.items()]
            mine = [
                {"": name} | {title: written(row, key) for title, key in SHOWN.items()} for name, row in found.items()
            ]
            show(f"{world}, {given.seeds} seeds", mine)
            shown += [{"variant": f"{row.pop('')}, {world}", **row} for row in mine]
            if given.json:  # a long benchmark that is interrupted leaves the worlds it has done
                write(given.json, "Recovery of planted features", shown, given.device, figures=rows)


def on_world(world: str, given: Any, scratch: Path) -> dict[str, dict[str, float]]:
    """Every variant's means and intervals; those with too many latents active once more, sparser."""
    found: dict[str, list[dict[str, float]]] = {}
    runs = [(variant, seed) for variant in given.variants for seed in range(given.seeds)]
    for variant, seed in track(runs, description=world):
        crosscoder = trained(variant, world, seed, given, scratch / f"{world}-{variant}-{seed}")
        found.setdefault(variant, []).append(scalars := judged(crosscoder))
        if scalars["l0"] > CLOSE * WORLDS[world]:
            sparser = at_l0(crosscoder, WORLDS[world], Store(crosscoder.provenance["heldout"]))
            found.setdefault(f"{variant}, at k", []).append(judged(sparser))
    return {name: _means(scalars) for name, scalars in found.items()}


def _means(scalars: list[dict[str, float]]) -> dict[str, float]:
    means: dict[str, float] = {"seeds": len(scalars)}
    for key in dict.fromkeys(key for one in scalars for key in one):
        means[key], means[f"{key} ±"] = interval([one.get(key, float("nan")) for one in scalars])
    return means


if __name__ == "__main__":
    main()
