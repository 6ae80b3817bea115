"""Compare trainers on planted truth: variants × worlds × seeds through train.py.

python -m benchmarks.recovery --worlds easy hard --seeds 3 --json docs/recovery/recovery.json

A variant is a published setting (conf/experiment) or `ours`. All see the same tokens and have as
many latents and, once trained, as many active: those with a k have the world's own L0, penalties
are brought to it. A crosscoder that has more active all the same is also judged sparser, its
smallest entries left out (`…, at k`). Published rates are for a hundred times as many tokens:
learning rate and batch are one for all. ± is half a 95 % interval over seeds; `ours` is compared
with the others seed by seed.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from scipy import stats

from benchmarks.measure import arguments, write
from crosscoder.analysis.analysis import Analysis
from crosscoder.core.model import Crosscoder
from crosscoder.data import Store
from crosscoder.data.synthetic.planted import read_truth
from crosscoder.errors import UserError, exit_on_error
from crosscoder.evals import EvalContext
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.evals.support.feature_recovery import FeatureRecovery
from crosscoder.evals.support.l0_matching import truncate_to_l0
from crosscoder.formats import load
from crosscoder.io.run_dir import write_json
from crosscoder.report.terminal.tables import show

TRAIN = Path(__file__).parents[1] / "train.py"
WORLDS = {  # and their L0
    "easy": 12,
    "hard": 12,
    "under": 16,
    "toy_anthropic_over": 6,
    "toy_anthropic_under": 6,
    "toy_dfc": 5,
}
PENALTY = [
    "loss.l1.weight=0.5",
    "l0_target={k}",
]  # begins anywhere, and is brought to the world's L0
VARIANTS: dict[str, list[str]] = {
    "ours": ["experiment=ours"],
    "ours, nothing begins as own": ["experiment=ours", "init.exclusive_fraction=0"],
    "ours, own reads own": ["experiment=ours", "init.exclusive_encoder=own"],
    "ours, no difference": ["experiment=ours", "loss.difference.weight=0"],
    "default": [],
    "minder2025_batchtopk": ["experiment=minder2025_batchtopk"],
    "minder2025_l1": ["experiment=minder2025_l1", "l0_target={k}"],
    "lindsey2024": ["experiment=lindsey2024", *PENALTY],
    "lindsey2024, concat": ["experiment=lindsey2024", *PENALTY, "loss.l1.norm=concat"],
    "kissane2024": ["experiment=kissane2024", *PENALTY],
    "mishra_sharma2025": ["experiment=mishra_sharma2025", *PENALTY],
    "tied2025": ["experiment=tied2025", *PENALTY],
    "jumprelu2025": ["experiment=jumprelu2025", "l0_target={k}"],
    "dfc2026": ["experiment=dfc2026"],
    "delta2026": ["experiment=delta2026"],
    "gated": ["activation=gated", "loss=[squared,gate]", "l0_target={k}"],
    "matryoshka": ["loss=[matryoshka,auxk]"],
    "topk": ["activation=topk"],
}
CLOSE = 1.02  # an L0 this much above k is judged sparser, too
FIGURES = ("l0", "dead_fraction", "fve/base", "fve/chat", "fve/difference")


def train(args: Any, world: str, variant: str, stage: str, seed: int) -> Path:
    """Through train.py, as a user would; gives the run folder."""
    folder = Path(args.runs) / f"{world}-{variant.replace(', ', '-')}-{seed}"
    if stage == "stage=all" and (folder / "metrics.json").exists():
        return folder
    parts = {
        "n_tokens": args.tokens,
        "n_validation": args.tokens // 25,
        "n_heldout": args.tokens // 4,
    }
    rows = (
        3 * (args.n_latents // 3) if "tied" in variant else args.n_latents
    )  # three for each decoder
    same = [f"{name}={n}" for name, n in parts.items()]
    same += [
        f"train_tokens={args.steps * 1024}",
        "batch_size=1024",
        f"lr={args.lr}",
        f"n_latents={rows}",
    ]
    own = [setting.format(k=WORLDS[world]) for setting in VARIANTS[variant]]
    place = [
        f"data={world}",
        f"data.seed={seed}",
        f"seed={seed}",
        f"k={WORLDS[world]}",
        f"run={folder}",
        stage,
    ]
    plain = [
        "models=tiny",
        "logger=none",
        "eval=[reconstruction]",
        f"harvest.root={args.runs / 'stores'}",
    ]
    # what is the same for all comes later: rates and sizes of a published setting are for other
    # data
    command(TRAIN, *own, *same, *place, *plain, OMP_NUM_THREADS="1")
    return folder


def command(script: Path, *arguments: str, **environment: str) -> None:
    """Run it; what it says is shown if it fails."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    if done.returncode:
        raise UserError(
            f"{script.name} {' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}"
        )


def judged(crosscoder: Crosscoder) -> dict[str, float]:
    """Every figure by name."""
    heldout = Store(crosscoder.provenance["heldout"])
    found = FeatureRecovery(
        crosscoder, read_truth(heldout), Analysis().make_table(crosscoder, heldout)
    )
    scalars = {
        k: v
        for k, v in ReconstructionEval()(EvalContext(crosscoder, heldout, None)).scalars.items()
        if k in FIGURES
    }
    scalars |= found.match_scalars()
    for row in found.score_rules():
        scalars |= {
            f"{row['rule']}, {row['source']}: {key}": row[key]
            for key in ("precision", "recall", "f1")
        }
    for row in found.score_rankings():
        scalars |= {f"{row['by']}, {row['source']}: {key}": row[key] for key in ("ap", "auroc")}
    for row in found.score_deciles():
        scalars |= {f"decile {row['decile']}: {key}": row[key] for key in ("found", "recalled")}
    return scalars


TRAINED = {
    "L0": "l0",
    "dead": "dead_fraction",
    "FVE base": "fve/base",
    "FVE chat": "fve/chat",
    "FVE difference": "fve/difference",
    "MCC": "mcc",
    "found": "found",
    "found chat": "found/chat_only",
}
CALLED = {
    "AUROC": "Δ, chat: auroc",
    "AP by Δ": "Δ, chat: ap",
    "AP": "presence, chat: ap",
    "F1, Δ > 0.9": "Δ > 0.9, chat: f1",
    "precision, Δ > 0.9": "Δ > 0.9, chat: precision",
    "F1, verdict": "verdict, chat: f1",
    "F1": "presence, chat: f1",
    "precision": "presence, chat: precision",
    "recall": "presence, chat: recall",
    "F1 of base-only": "presence, base: f1",
}
COMPARED = {
    **{name: CALLED[name] for name in ("F1", "AP", "F1, Δ > 0.9", "AP by Δ", "F1 of base-only")},
    **{name: TRAINED[name] for name in ("FVE base", "FVE difference", "MCC")},
}


Figures = dict[str, float]


@exit_on_error()
def main() -> None:
    """Train, judge, and print tables for each world."""
    variants = ["ours", "minder2025_batchtopk", "minder2025_l1"]
    args = arguments(
        str(__doc__),
        worlds={
            "nargs": "+",
            "choices": list(WORLDS),
            "default": ["easy", "hard"],
            "help": "conf/data",
        },
        variants={
            "nargs": "+",
            "choices": list(VARIANTS),
            "default": variants,
            "help": "see VARIANTS",
        },
        seeds={"type": int, "default": 3, "help": "of world and weights"},
        first_seed={
            "type": int,
            "default": 10,
            "help": "rules and `ours` were chosen on seeds below",
        },
        steps={"type": int, "default": 1500, "help": "of 1,024 tokens"},
        tokens={
            "type": int,
            "default": 200_000,
            "help": "drawn to train on; a quarter as many to judge on",
        },
        lr={"type": float, "default": 2e-3, "help": "of all variants"},
        n_latents={"type": int, "default": 1024, "help": "of all variants"},
        jobs={"type": int, "default": 2, "help": "runs at a time, one thread each"},
        runs={
            "type": Path,
            "help": "folder where runs are kept; what is there is not trained again",
        },
    )
    done: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        args.runs = args.runs or Path(scratch)
        for world in args.worlds:
            done += on_world(world, args)
            for title, rows in tables(done, world).items():
                show(title, rows)
            if args.json:  # a long benchmark that is interrupted leaves the worlds it has done
                shown = {
                    title: rows
                    for name in args.worlds
                    for title, rows in tables(done, name).items()
                    if rows
                }
                write(
                    args.json,
                    "Recovery of planted features",
                    [],
                    args.device,
                    tables=shown,
                    runs=done,
                )


def on_world(world: str, args: Any) -> list[dict[str, Any]]:
    """Every run's figures; of one with too many latents active once more, sparser."""
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
        list(
            pool.map(partial(train, args, world, "ours", "stage=harvest"), seeds)
        )  # each world is drawn once
        runs = [
            pool.submit(run, args, world, variant, seed)
            for seed in seeds
            for variant in args.variants
        ]
        return [row for one in track(runs, description=world) for row in one.result()]


def run(args: Any, world: str, variant: str, seed: int) -> list[dict[str, Any]]:
    """Train and judge."""
    torch.set_num_threads(1)
    folder = train(args, world, variant, "stage=all", seed)
    if (kept := folder / "judged.json").exists():
        rows = json.loads(kept.read_text(encoding="utf-8"))
        return [
            {key: np.nan if value is None else value for key, value in row.items()} for row in rows
        ]
    crosscoder = load(folder)
    figures = {variant: judged(crosscoder)}
    if figures[variant]["l0"] > CLOSE * WORLDS[world]:
        sparser = truncate_to_l0(crosscoder, WORLDS[world], Store(crosscoder.provenance["heldout"]))
        figures[f"{variant}, at k"] = judged(sparser)
    rows = [{"variant": name, "world": world, "seed": seed, **row} for name, row in figures.items()]
    write_json(kept, rows)
    return rows


def tables(done: list[dict[str, Any]], world: str) -> dict[str, list[dict[str, Any]]]:
    """Return tables: features learnt, features called, and how `ours` differs from the others."""
    found: dict[str, dict[int, Figures]] = {}
    for row in done:
        if row["world"] == world:
            found.setdefault(row["variant"], {})[row["seed"]] = row
    ours = found.get("ours", {})

    def table(
        shown: dict[str, str], than: dict[int, Figures] | None = None
    ) -> list[dict[str, Any]]:
        """Return a row per variant: means, or mean differences from `than` seed by seed."""
        return [
            {"variant": name}
            | {
                title: written(
                    [
                        (than[seed][key] - row[key]) if than else row[key]
                        for seed, row in rows.items()
                    ]
                )
                for title, key in shown.items()
            }
            for name, rows in found.items()
            if rows is not than
        ]

    return {
        f"{world}: what is learnt": table(TRAINED),
        f"{world}: which chat-only features are called": table(CALLED),
        **(
            {f"{world}: ours minus the others": table(COMPARED, ours)}
            if len(found) > 1 and ours
            else {}
        ),
    }


def written(values: list[float]) -> str:
    """`0.812 ± 0.010`: the mean, and half the width of its 95 % interval (t-test)."""
    known = np.array([value for value in values if value == value])
    if len(known) < 2:
        return f"{known.mean():.3f}" if len(known) else "–"
    half = stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5
    return f"{known.mean():.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
