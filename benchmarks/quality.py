"""The same run by two paths: what it reached, and how long it trained.

python train.py run=FAST
CROSSCODER_KERNELS=reference python train.py run=REFERENCE
python -m benchmarks.quality --runs FAST REFERENCE
"""

from pathlib import Path

from benchmarks.measure import arguments, report
from crosscoder.errors import exit_on_error
from crosscoder.io.run_dir import Run
from crosscoder.report.markdown import read_training_metrics


def row(run: Run) -> dict[str, float | str]:
    """Read a run's figures."""
    metrics = read_training_metrics(run)
    wanted = ("fve", "l0", "dead_fraction", "train_tokens", "train_seconds", "tokens_per_second")
    return {"run": run.folder.name} | {
        key: value for key, value in metrics.items() if key.startswith(wanted)
    }


@exit_on_error()
def main() -> None:
    """Read, compare and report."""
    args = arguments(
        str(__doc__),
        runs={
            "type": Path,
            "nargs": 2,
            "required": True,
            "help": "folders of the two finished runs",
        },
    )
    rows = [row(Run(folder)) for folder in args.runs]
    fast, reference = rows
    difference = {
        key: fast[key] - reference[key]
        if key.startswith(("fve", "l0", "dead"))
        else fast[key] / reference[key]
        for key in fast
        if key != "run"
    }
    report(
        "By two paths",
        [*rows, {"run": "difference or ratio", **difference}],
        args.json,
        args.device,
    )


if __name__ == "__main__":
    main()
