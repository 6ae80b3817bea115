"""Print the tables with which a harvest and a training run end."""

from collections.abc import Iterable, Mapping
from typing import Any

from crosscoder.data import Splits, Store
from crosscoder.data.outliers import Outliers
from crosscoder.evals import Result
from crosscoder.evals.support.plan import Plan
from crosscoder.installation import name_command
from crosscoder.io.run_dir import Run
from crosscoder.lm import Pair
from crosscoder.report.terminal.tables import console, show_pairs, show_result
from crosscoder.terminal.commands import format_command
from crosscoder.terminal.pairs import print_pairs
from crosscoder.terminal.words import print_words


def print_arithmetic(pair: Pair) -> None:
    """Say that the models compute in another dtype than their weights and activations have."""
    if pair.compute_dtype != pair.dtype:
        kept = str(pair.dtype).removeprefix("torch.")
        computed = str(pair.compute_dtype).removeprefix("torch.")
        print_words(
            console,
            f"this CPU has no fast {kept}: the models compute in {computed}, "
            f"and their activations are kept in {kept}",
        )


def print_harvest_summary(splits: Splits, seconds: float) -> None:
    """Print the stores of a `stage=harvest` run."""
    stores = {"train": splits.train, "validation": splits.validation, "held-out": splits.heldout}
    for name, store in stores.items():
        described = {
            "sources": store.sources.describe(),
            "tokens": len(store),
            **describe_pairing(store),
            "outliers": Outliers.from_store(store, splits.sources).describe(),
            "shards": len(store.counts),
        }
        show_pairs(f"{name} store", list(described.items()))
    folders = {name: str(store.folder) for name, store in stores.items()}
    show_pairs(f"folders, harvested in {seconds:.0f} s", list(folders.items()), is_whole=True)


def print_training_summary(
    run: Run,
    splits: Splits,
    results: Iterable[Result],
    training: Mapping[str, float],
    next_plan: Plan | None = None,
) -> None:
    """Print the results of a finished run, its training figures and its files.

    Args:
        run: Run folder.
        splits: Stores of training and evaluation.
        results: Results of the run's evals.
        training: Figures of the harvest and the training.
        next_plan: What the command that is printed as the next one will train.
    """
    for result in results:
        show_result(result)
    figures: dict[str, Any] = {**training, **describe_pairing(splits.train)}
    figures["outliers"] = Outliers.from_store(splits.train, splits.sources).describe()
    figures["tokens_sha256"] = f"{splits.train.tokens_sha256[:16]}…"
    show_pairs("training", list(figures.items()))
    files = {
        "run": str(run.folder),
        "crosscoder": str(run.crosscoder),
        "metrics": str(run.metrics),
        "activations": str(splits.train.folder),
        "next": format_command(name_command("evaluate"), crosscoder=run.folder),
    }
    show_pairs("files", list(files.items()), is_whole=True)
    if next_plan is not None and next_plan.has_training:
        quick = ",".join(next_plan.trains_nothing)
        print_words(
            console,
            f"The next command trains {next_plan.describe_total()}; "
            f"with eval=[{quick}] it trains nothing.",
        )
        console.print()


def print_plan(plan: Plan) -> None:
    """Print the evals that are going to run, and how long training takes."""
    print_pairs(console, "evals", plan.describe())


def print_finished(run: Run) -> None:
    """Print that a run is already finished, and how to evaluate it."""
    command = format_command(name_command("evaluate"), crosscoder=run.folder)
    console.print(f"{run.folder} is finished", highlight=False, soft_wrap=True)
    show_pairs("", [("next", command)], is_whole=True)


def describe_pairing(store: Store) -> dict[str, str]:
    """Describe the fraction of each model's text with a counterpart, if tokenizers differ."""
    fractions = store.meta.get("kept")
    if not fractions:
        return {}
    texts = [f"{fraction:.1%} of {lm}'s" for lm, fraction in fractions.items()]
    return {"paired tokens": ", ".join(texts)}
