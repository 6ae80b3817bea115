"""Pictures of what `benchmarks.recovery` wrote, one per world, beside its JSON.

python -m benchmarks.recovery_plots docs/recovery/recovery.json

Left: ranking and calling of chat-only features, a dot per seed, a bar for the mean. Middle: how
many exclusive features are found, from the rarest tenth to the most frequent. Right: what a trainer
explains of the difference against how well it ranks.
"""

import json
import sys
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

SCORES = {
    "AP": "presence, chat: ap",
    "F1": "presence, chat: f1",
    "F1 of Δ > 0.9": "Δ > 0.9, chat: f1",
}
COLOURS = {"AP": "#4c78a8", "F1": "#e45756", "F1 of Δ > 0.9": "#bab0ac"}
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "crosscoder",  # the same figures give the same file
    "svg.fonttype": "none",
}


def draw(world: str, runs: list[dict[str, Any]], to: Path) -> None:
    """One world."""
    names = list(
        dict.fromkeys(run["variant"] for run in runs if not run["variant"].endswith("at k"))
    )
    names.sort(
        key=lambda name: -np.mean([run[SCORES["F1"]] for run in runs if run["variant"] == name])
    )
    of = {name: [run for run in runs if run["variant"] == name] for name in names}
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(13, 1.6 + 0.34 * len(names)), width_ratios=(1.5, 1, 1), layout="constrained"
    )
    for offset, (title, key) in zip((-0.25, 0, 0.25), SCORES.items(), strict=True):
        for place, name in enumerate(names):
            values = [run[key] for run in of[name]]
            left.barh(
                place + offset,
                np.mean(values),
                0.22,
                color=COLOURS[title],
                label=title if place == 0 else None,
            )
            left.plot(values, [place + offset] * len(values), ".", color="black", markersize=3)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlim(0, 1)
    left.set_title(f"chat-only features, world `{world}`", loc="left")
    left.legend(frameon=False, loc="lower right")
    markers = dict(zip(names, cycle("osD^vP*Xhd<>p8"), strict=False))
    for place, name in enumerate(
        name for name in names if not name.startswith("ours, ")
    ):  # without what ours lacks one part of
        deciles = [np.mean([run[f"decile {n}: found"] for run in of[name]]) for n in range(1, 11)]
        colour = (
            "#e45756" if name == "ours" else plt.get_cmap("Greys")(0.35 + 0.5 * place / len(names))
        )
        middle.plot(
            range(1, 11),
            deciles,
            color=colour,
            linewidth=2.2 if name == "ours" else 1,
            marker=markers[name],
            markersize=3,
        )
        x, y = (np.mean([run[key] for run in of[name]]) for key in ("fve/difference", SCORES["AP"]))
        right.plot(x, y, markers[name], color=colour)
        right.annotate(name, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7)
    middle.set(xlabel="rarest tenth → most frequent", ylim=(0, 1.02))
    middle.set_title("exclusive features found", loc="left")
    right.set(xlabel="FVE of the difference", ylabel="AP of chat-only features")
    right.margins(x=0.25)
    right.set_title("explaining and ranking", loc="left")
    figure.savefig(to, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Every world in the file."""
    path = Path(sys.argv[1])
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    plt.rcParams.update(STYLE)
    for world in dict.fromkeys(run["world"] for run in runs):
        draw(world, [run for run in runs if run["world"] == world], path.with_name(f"{world}.svg"))
        print(path.with_name(f"{world}.svg"))


if __name__ == "__main__":
    main()
