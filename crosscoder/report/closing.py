"""What a command ends with: tables on the screen, metrics.json and results/ in the run folder."""

from typing import Any

from crosscoder.data import Splits, Store
from crosscoder.evals import Result
from crosscoder.report.tables import console, show, show_pairs, show_result
from crosscoder.runs import Run


def harvested(splits: Splits, seconds: float) -> None:
    """The table that `stage=harvest` ends with."""
    rows = [
        {
            "store": name,
            "sources": store.sources.describe(),
            "tokens": len(store),
            **paired(store),
            "shards": len(store.counts),
            "folder": str(store.folder),
        }
        for name, store in (
            ("train", splits.train),
            ("validation", splits.validation),
            ("held-out", splits.heldout),
        )
    ]
    show("Harvested", rows, f"{seconds:.0f} s")


def closing(run: Run, splits: Splits, results: list[Result], training: dict[str, float]) -> None:
    """Write results and metrics.json, and print them."""
    metrics: dict[str, Any] = {}
    for result in results:
        result.save(run.results)
        metrics |= {key: value for key, value in result.scalars.items() if result.name == "reconstruction"}
    metrics |= training | {"tokens_sha256": splits.train.tokens_sha256}
    run.write_metrics(metrics)
    for result in results:
        show_result(result)
    known = [*training.items(), *paired(splits.train).items()]
    show_pairs("training", [*known, ("tokens_sha256", splits.train.tokens_sha256[:16] + "…")])
    show_pairs(
        "files",
        [
            ("run", str(run.folder)),
            ("crosscoder", str(run.crosscoder)),
            ("metrics", str(run.metrics)),
            ("activations", str(splits.train.folder)),
            ("next", f"python evaluate.py crosscoder={run.folder}"),
        ],
    )
    console.print()


def paired(store: Store) -> dict[str, str]:
    """Of models with different tokenizers, which share of each one's text is tokens that have a counterpart."""
    if not (kept := store.meta.get("kept")):
        return {}
    return {"paired tokens": ", ".join(f"{share:.1%} of {lm}'s" for lm, share in kept.items())}
