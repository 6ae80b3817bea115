"""Trainers compared on a real pair, at the same number of active latents and of tokens, and judged as a user would.

python -m benchmarks.variants --json docs/recovery/variants.json

Each variant is trained by train.py and judged by evaluate.py: held-out FVE, latents that the verdict and the presence call
chat-specific, the share of latents that either calls exclusive where the two models differ by noise alone (eval=nulls, control
`noise`), and how much of the behaviour goes when 16 latents are ablated (eval=ablation). Rates and sizes of published settings
are for a hundred times as many tokens: learning rate, batch and number of latents are one for all.
"""

import json
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.measure import across, arguments, write
from benchmarks.recovery import TRAIN, VARIANTS, command
from crosscoder.diff.presence import EXCLUSIVE
from crosscoder.diff.table import LatentTable
from crosscoder.errors import one_line
from crosscoder.report.tables import show

NOISE = "eval.nulls.controls=[{_target_: crosscoder.evals.controls.Noise}]"
RULES = ("verdict", "presence", "Δ > 0.9, Minder et al. 2025")
EVALS = ["eval=[diff,nulls,ablation]", NOISE, "eval.ablation.sizes=[16]", "eval.ablation.headline=[16]"]


def run(name: str, given: Any, folder: Path) -> dict[str, Any]:
    """Train, evaluate, and read what is to be shown."""
    same = [f"train_tokens={given.train_tokens}", f"models={given.models}", "batch_size=1024", f"lr={given.lr}"]
    same += [f"n_latents={given.n_latents}", f"k={given.k}", f"seed={given.seed}", "logger=none", *given.set]
    own = [setting.format(k=given.k) for setting in VARIANTS[name]]
    if not (folder / "metrics.json").exists():
        command(TRAIN, *own, *same, f"run={folder}")
    if not (folder / "results" / "ablation.json").exists():
        command(TRAIN.parent / "evaluate.py", f"crosscoder={folder}", *EVALS, *given.evaluate)
    scalars = json.loads((folder / "metrics.json").read_text())
    nulls, ablation = (
        json.loads((folder / "results" / f"{eval_name}.json").read_text()) for eval_name in ("nulls", "ablation")
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


@one_line()
def main() -> None:
    """One after the other; what is in --runs is not trained again."""
    given = arguments(
        str(__doc__),
        variants={
            "nargs": "+",
            "choices": [*VARIANTS],
            "default": ["default", "ours"],
            "help": "see benchmarks/recovery.py",
        },
        runs={"type": Path, "default": Path("outputs/variants"), "help": "folder where runs are kept"},
        models={"default": "gemma3_270m", "help": "conf/models"},
        train_tokens={"type": int, "default": 1_000_000, "help": "of each"},
        n_latents={"type": int, "default": 4096, "help": "of each"},
        k={"type": int, "default": 32, "help": "active latents per token; penalties are brought to it"},
        lr={"type": float, "default": 2e-3, "help": "of each"},
        seed={"type": int, "default": 0, "help": "of weights and order"},
        set={"nargs": "*", "default": [], "help": "more settings of train.py"},
        evaluate={"nargs": "*", "default": [], "help": "more settings of evaluate.py"},
    )
    rows = []
    for name in track(given.variants, description="variants"):
        rows.append(run(name, given, given.runs / name.replace(", ", "-")))
        if given.json:
            write(given.json, "Variants on a real pair", rows, given.device)
    show("Variants on a real pair", across(rows))


if __name__ == "__main__":
    main()
