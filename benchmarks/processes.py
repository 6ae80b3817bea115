"""One training run on one, two and four processes: tokens per second, and agreement of the loss.

The main job's recipe on planted activations, one thread a process, at equal batch; `tokens` and
`latents` are what they share. In fp32 (CROSSCODER_KERNELS=reference) and at a learning rate at
which rounding does not grow, losses can be compared.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import arguments, report

ROOT = Path(__file__).parents[1]


def curve(
    n: int, share: str, settings: list[str], folder: Path, **environment: str
) -> tuple[list[float], float]:
    """(losses as logged, tokens per second) of a run of `n` processes."""
    run = folder / f"{n}-{share}-{len(environment)}"
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(n),
    ]
    command = [
        *(launch if n > 1 else [sys.executable]),
        str(ROOT / "train.py"),
        *settings,
        f"parallel={share}",
        f"run={run}",
    ]
    environment = {"OMP_NUM_THREADS": "1", "CROSSCODER_CACHE": str(folder / "cache")} | environment
    done = subprocess.run(
        command,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed\n{done.stdout}\n{done.stderr}")
    rows = json.loads((run / "curves.json").read_text())
    return [row["loss"] for row in rows], json.loads((run / "metrics.json").read_text())[
        "tokens_per_second"
    ]


def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        processes={"type": int, "nargs": "+", "default": [2, 4], "help": "beside one"},
        train_tokens={"type": int, "default": 100_000, "help": "of each run"},
        settings={
            "nargs": "*",
            "default": ["data.width=640", "n_latents=4096", "batch_size=1024"],
            "help": "of train.py",
        },
    )
    settings = [
        "data=planted",
        "n_tokens=20_000",
        "logger=none",
        "eval=[]",
        "lr=5e-4",
        f"train_tokens={args.train_tokens}",
    ]
    settings += ["trainer.log_every_n_steps=5", *args.settings]
    exact, rows = {"CROSSCODER_KERNELS": "reference"}, []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _, alone = curve(1, "tokens", settings, folder)
        losses, _ = curve(1, "tokens", settings, folder, **exact)
        for n in args.processes:
            for share in ("tokens", "latents"):
                _, together = curve(n, share, settings, folder)
                theirs, _ = curve(n, share, settings, folder, **exact)
                apart = max(abs(a - b) / a for a, b in zip(losses, theirs, strict=True))
                row = {
                    "processes": f"{n}, parallel={share}",
                    "tokens_per_second": together,
                    "over_one": together / alone,
                }
                rows.append(row | {"one_process": alone, "loss_apart_at_most": f"{apart:.1e}"})
    report("One run by several processes", rows, args.json, args.device)


if __name__ == "__main__":
    main()
