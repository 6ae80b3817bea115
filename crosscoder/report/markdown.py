"""A run's results as Markdown, put between two marks of a document: `python -m crosscoder.report.markdown RUN README.md`.

So no figure in a document is typed by hand.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosscoder.documents import put, table
from crosscoder.errors import UserError, one_line
from crosscoder.evals import Result
from crosscoder.report.tables import by_source, figure
from crosscoder.runs import Run

BEGIN, END = "<!-- figures of a run -->", "<!-- end of figures -->"
TRAINING = ("n_latents", "n_tokens", "train_tokens", "harvest_seconds", "train_seconds", "tokens_per_second")


def grid(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; their keys are its columns."""
    return table(list(rows[0]), [[figure(value) for value in row.values()] for row in rows])


def metrics_of(run: Run) -> dict[str, Any]:
    """A finished run's `metrics.json`."""
    if not run.metrics.exists():
        raise UserError(f"no finished run at {run.folder}: it has no metrics.json")
    return json.loads(run.metrics.read_text())


def figures(run: Run) -> str:
    """Every result of a run, and what its training took."""
    metrics = metrics_of(run)
    parts = []
    for result in (Result.load(path) for path in sorted(run.results.glob("*.json"))):
        parts += [f"`{result.name}`, {result.meta['n_tokens']:,} held-out tokens:", grid(by_source(result.scalars))]
        if rules := result.tables.get("norm_rules"):
            parts.append("; ".join(f"{row['rule']}: {figure(row['latents'])}" for row in rules) + ".")
    parts += [
        f"training, tokens `{metrics['tokens_sha256'][:16]}`:",
        grid([{name: metrics[name] for name in TRAINING}]),
    ]
    return "\n\n".join(parts)


@one_line()
def main() -> None:
    """Put a run's figures into a document."""
    if len(sys.argv) != 3:
        raise UserError("usage: python -m crosscoder.report.markdown RUN DOCUMENT")
    document = Path(sys.argv[2])
    text = put(document.read_text(encoding="utf-8"), BEGIN, END, figures(Run(sys.argv[1])))
    document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
