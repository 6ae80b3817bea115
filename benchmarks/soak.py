"""A long training run on a stream: its memory, open files, threads and hooks over time.

Trains on a stream of two tiny models for as long as asked for, and looks at its own process all the
while. Memory is that of the process; what it grew by is the difference between the medians of the
last and the first tenth after a tenth of warming up.
"""

import tempfile
import threading
from pathlib import Path
from statistics import median

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from benchmarks.measure import arguments, write
from benchmarks.memory import resident
from crosscoder.installation import find_conf
from crosscoder.lm import Pair
from crosscoder.report.terminal.tables import show

CONF = find_conf()


def look(pair: Pair, minutes: float) -> dict[str, float]:
    """Measure what the process holds now."""
    models = list(pair.models.loaded.values())
    hooks = sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks)
        for model in models
        for m in model.modules()
    )
    return {
        "minutes": minutes,
        "rss_mb": resident("VmRSS") / 1e6,
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "hooks": hooks,
    }


def watched(
    minutes: float, every: float, folder: Path
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Measure the process during a run; return the samples and the run's figures."""
    limit = f"+trainer.max_time={{seconds: {60 * minutes:.0f}}}"
    settings = [
        "models=tiny",
        "data.mode=stream",
        "data.buffer_tokens=100_000",
        "n_latents=1024",
        "k=8",
        limit,
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "train", [*settings, "logger=none", "train_tokens=100_000_000_000", f"run={folder}"]
        )
    pair, data, recipe = (
        instantiate(part, _convert_="all") for part in (cfg.models, cfg.data, cfg.recipe)
    )
    harvest = instantiate(cfg.harvest, root=folder / "stores")
    sizes = {"train": cfg.n_tokens, "validation": cfg.n_validation, "heldout": cfg.n_heldout}
    splits = data.make_splits(pair, list(cfg.hookpoints), None, harvest, sizes)
    seen, over = [], threading.Event()

    def watch() -> None:
        while not over.wait(every):
            seen.append(look(pair, (len(seen) + 1) * every / 60))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    _, figures = recipe.train(
        splits.train, splits.validation, splits.sources, folder, stream=splits.stream
    )
    over.set()
    watcher.join()
    return seen, figures


def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        minutes={"type": float, "default": 60.0, "help": "how long"},
        every={"type": float, "default": 10.0, "help": "seconds from one look to the next"},
    )
    with tempfile.TemporaryDirectory() as scratch:
        seen, figures = watched(args.minutes, args.every, Path(scratch))
    tenth = max(1, len(seen) // 10)
    early, late = seen[tenth : 2 * tenth] or seen, seen[-tenth:]
    most = max(seen, key=lambda one: one["rss_mb"])

    def row(what: str) -> dict[str, float | str]:
        before, after = (median(one[what] for one in part) for part in (early, late))
        return {
            "what": what,
            "first": before,
            "last": after,
            "grown_by": after - before,
            "at_most": max(one[what] for one in seen),
        }

    rows = [row(what) for what in most if what != "minutes"]
    minutes, tokens = figures["train_seconds"] / 60, figures["train_tokens"]
    title = f"{minutes:.0f} minutes of training on a stream, {tokens / 1e6:.1f} million tokens"
    show(title, rows)
    if args.json:
        write(args.json, title, rows, args.device, tables={title: rows})


if __name__ == "__main__":
    main()
