"""Pictures of what `benchmarks.organisms` wrote, beside its JSON.

python -m benchmarks.organism_plots docs/organisms/organisms.json

removed.svg    for each organism, how much of the behaviour the first 16 pieces of each method
               remove, against the KL on plain text; the bar is passed in the shaded corner
dilution.svg   how large the difference of the models is, beside what can be removed of it
"""

import json
import sys
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.organisms import LADDER, LARGEST, MAX_KL, MIN_REMOVED, PLANTED, name_method
from benchmarks.recovery_plots import STYLE

Row = dict[str, Any]
SMALLEST_KL = 1e-4  # the axis is linear below


def main() -> None:
    """Draw both pictures."""
    path = Path(sys.argv[1])
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    plt.rcParams.update(STYLE)
    draw_removed(runs, path.with_name("removed.svg"))
    draw_dilution(runs, path.with_name("dilution.svg"))


def draw_removed(runs: list[Row], to: Path) -> None:
    """Draw the behaviour that is removed against the KL on plain text.

    There is a row of panels for each layer, with a panel for each organism.
    """
    measured = [run for run in runs if run.get(f"removed@{LARGEST}") is not None]
    names = list(dict.fromkeys(name_method(run) for run in measured))
    shapes = dict(zip(names, cycle("osD^vPX"), strict=False))
    found = {run["organism"] for run in measured}
    organisms = [name for name in PLANTED if name in found]
    layers = sorted({run["layer"] for run in measured})
    figure, grid = plt.subplots(
        len(layers),
        len(organisms),
        figsize=(2.2 * len(organisms), 2.4 * len(layers) + 0.5),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for layer, row in zip(layers, grid, strict=True):
        for organism, panel in zip(organisms, row, strict=True):
            shade_passed(panel)
            for run in measured:
                if run["organism"] == organism and run["layer"] == layer:
                    draw_run(panel, run, shapes)
            panel.set_title(f"{organism}, layer {layer}", loc="left")
    figure.supxlabel("KL on plain text, nats")
    figure.supylabel(f"behaviour removed by {LARGEST} pieces")
    figure.legend(
        *collect_labels(grid.flat), frameon=False, loc="outside upper center", ncols=len(names)
    )
    save(figure, to)


def shade_passed(panel: Axes) -> None:
    """Scale the axes, and shade the corner in which a method passes."""
    panel.set_xscale("symlog", linthresh=SMALLEST_KL)
    panel.set_xlim(0, 20)
    panel.set_ylim(-0.25, 1.05)
    panel.set_xticks([0, 1e-3, 1e-1, 10])
    panel.fill_between([0, MAX_KL], MIN_REMOVED, 1.05, color="#54a24b", alpha=0.2, linewidth=0)
    panel.axhline(0, color="#bab0ac", linewidth=0.8)


def draw_run(panel: Axes, run: Row, shapes: dict[str, str]) -> None:
    """Draw one crosscoder's result of one method; runs below the axis are drawn at its edge."""
    name = name_method(run)
    is_crosscoder = name.startswith("crosscoder")
    panel.plot(
        run[f"KL plain@{LARGEST}"],
        max(run[f"removed@{LARGEST}"], -0.25),
        shapes[name],
        color="#e45756" if is_crosscoder else "#79706e",
        label=name,
        markersize=6,
        clip_on=False,
    )


def collect_labels(panels: Any) -> tuple[list[Any], list[str]]:
    """Return the handles and labels of all panels, each label once."""
    found: dict[str, Any] = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def draw_dilution(runs: list[Row], to: Path) -> None:
    """Draw the size of the difference and what is removed, along the ladder of dilution.

    A ladder is drawn at the last layer that was measured.
    """
    last = max(run["layer"] for run in runs)
    ranked = [run for run in runs if run["method"] == "crosscoder_energy" and run["layer"] == last]
    found = {run["organism"] for run in ranked}
    ladder = [name for name in LADDER if name in found]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
    for place, organism in enumerate(ladder):
        for run in ranked:
            if run["organism"] == organism:
                left.plot(place, run["difference"], "o", color="#4c78a8")
                draw_recoverable(right, place, run)
    left.set_title("E‖chat − base‖² / E‖base‖²", loc="left")
    left.set_ylim(bottom=0)
    right.set_title("by the first 16 latents", loc="left")
    right.set_ylim(-0.05, 1.05)
    right.legend(*collect_labels([right]), frameon=False, loc="best")
    for panel in (left, right):
        panel.set_xticks(range(len(ladder)), ladder)
        panel.margins(x=0.15)
    save(figure, to)


def draw_recoverable(panel: Axes, place: int, run: Row) -> None:
    """Draw what a crosscoder's latents remove, and how well the best one tells prompts apart."""
    removed = run.get(f"removed@{LARGEST}")
    if removed is not None:
        panel.plot(place - 0.08, removed, "o", color="#e45756", label="behaviour removed")
    panel.plot(place + 0.08, run["AUROC"], "s", color="#79706e", label="best AUROC")


def save(figure: Any, to: Path) -> None:
    """Write a picture; the same figures give the same file."""
    figure.savefig(to, metadata={"Date": None})
    plt.close(figure)
    print(to)


if __name__ == "__main__":
    main()
