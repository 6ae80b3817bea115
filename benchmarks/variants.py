"""Compare trainers on a real pair at equal L0 and tokens.

python -m benchmarks.variants --json docs/recovery/variants.json

Each variant is trained by train.py and judged by evaluate.py: held-out FVE, latents that the
verdict and the presence call chat-specific, the share of latents that either calls exclusive where
the two models differ by noise alone (eval=nulls, control `noise`), and how much of the behaviour
goes when 16 latents are ablated (eval=ablation). Rates and sizes of published settings are for a
hundred times as many tokens: learning rate, batch and number of latents are one for all.
"""

import json
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.measure import across, arguments, write
from benchmarks.recovery import TRAIN, VARIANTS, command
from crosscoder.analysis.columns.presence import EXCLUSIVE
from crosscoder.analysis.table import LatentTable
from crosscoder.errors import exit_on_error
from crosscoder.report.terminal.tables import show

NOISE = "eval.nulls.controls=[{_target_: crosscoder.evals.support.controls.Noise}]"
RULES = ("verdict", "presence", "Δ > 0.9, Minder et al. 2025")
EVALS = [
    "eval=[diff,nulls,ablation]",
    NOISE,
    "eval.ablation.sizes=[16]",
    "eval.ablation.headline=[16]",
]


def run(name: str, args: Any, folder: Path) -> dict[str, Any]:
    """Train, evaluate, and read what is to be shown."""
    same = [
        f"train_tokens={args.train_tokens}",
        f"models={args.models}",
        "batch_size=1024",
        f"lr={args.lr}",
    ]
    same += [
        f"n_latents={args.n_latents}",
        f"k={args.k}",
        f"seed={args.seed}",
        "logger=none",
        *args.set,
    ]
    own = [setting.format(k=args.k) for setting in VARIANTS[name]]
    if not (folder / "metrics.json").exists():
        command(TRAIN, *own, *same, f"run={folder}")
    if not (folder / "results" / "ablation.json").exists():
        command(TRAIN.parent / "evaluate.py", f"crosscoder={folder}", *EVALS, *args.evaluate)
    scalars = json.loads((folder / "metrics.json").read_text())
    nulls, ablation = (
        json.loads((folder / "results" / f"{eval_name}.json").read_text())
        for eval_name in ("nulls", "ablation")
    )
    table = LatentTable.load(folder / "results" / "latents.parquet")
    false = {row["rule"]: row["noise"] for row in nulls["tables"]["rules"]}
    alive, chat = ~table["dead"], table.meta["contrast"][0]
    return {
        "variant": name,
        "L0": scalars["l0"],
        "FVE base": scalars["fve/base"],
        "FVE chat": scalars["fve/chat"],
        "FVE difference": scalars["fve/difference"],
        "dead": scalars["dead_fraction"],
        "chat-specific by verdict": int((table["verdict"] == f"{chat}-specific").sum()),
        "by presence": int((alive & (table[f"presence/{chat}"] < EXCLUSIVE)).sum()),
        "by Δ > 0.9": int((alive & (table["delta_norm"] > 0.9)).sum()),
        **{f"exclusive of noise, {rule}": false[rule] for rule in RULES},
        "removed by 16": ablation["scalars"].get("removed@16", float("nan")),
        "KL on plain text": ablation["scalars"].get("kl_plain@16", float("nan")),
    }


@exit_on_error()
def main() -> None:
    """One after the other; what is in --runs is not trained again."""
    args = arguments(
        str(__doc__),
        variants={
            "nargs": "+",
            "choices": [*VARIANTS],
            "default": ["default", "ours"],
            "help": "see benchmarks/recovery.py",
        },
        runs={
            "type": Path,
            "default": Path("outputs/variants"),
            "help": "folder where runs are kept",
        },
        models={"default": "gemma3_270m", "help": "conf/models"},
        train_tokens={"type": int, "default": 1_000_000, "help": "of each"},
        n_latents={"type": int, "default": 4096, "help": "of each"},
        k={
            "type": int,
            "default": 32,
            "help": "active latents per token; penalties are brought to it",
        },
        lr={"type": float, "default": 2e-3, "help": "of each"},
        seed={"type": int, "default": 0, "help": "of weights and order"},
        set={"nargs": "*", "default": [], "help": "more settings of train.py"},
        evaluate={"nargs": "*", "default": [], "help": "more settings of evaluate.py"},
    )
    rows = []
    for name in track(args.variants, description="variants"):
        rows.append(run(name, args, args.runs / name.replace(", ", "-")))
        if args.json:
            write(args.json, "Variants on a real pair", rows, args.device)
    show("Variants on a real pair", across(rows))


if __name__ == "__main__":
    main()
