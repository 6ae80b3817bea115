"""A run's results as Markdown, put between two marks of a document: `python -m crosscoder.report.markdown RUN README.md`.

So no figure in a document is typed by hand.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crosscoder.errors import UserError, one_line
from crosscoder.evals import Result
from crosscoder.report.tables import by_source, figure
from crosscoder.runs import Run

BEGIN, END = "<!-- figures of a run -->", "<!-- end of figures -->"
TRAINING = ("n_latents", "n_tokens", "train_tokens", "harvest_seconds", "train_seconds", "tokens_per_second")


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; their keys are its columns."""
    rows = list(rows)
    lines = [
        list(rows[0]),
        ["---", *["---:"] * (len(rows[0]) - 1)],
        *([figure(x) for x in row.values()] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures(run: Run) -> str:
    """Every result of a run, and what its training took."""
    if not run.metrics.exists():
        raise UserError(f"no finished run at {run.folder}: it has no metrics.json")
    metrics = json.loads(run.metrics.read_text())
    parts = []
    for result in (Result.load(path) for path in sorted(run.results.glob("*.json"))):
        parts += [f"`{result.name}`, {result.meta['n_tokens']:,} held-out tokens:", table(by_source(result.scalars))]
        if rules := result.tables.get("norm_rules"):
            parts.append("; ".join(f"{row['rule']}: {figure(row['latents'])}" for row in rules) + ".")
    parts += [
        f"training, tokens `{metrics['tokens_sha256'][:16]}`:",
        table([{name: metrics[name] for name in TRAINING}]),
    ]
    return "\n\n".join(parts)


def put(text: str, new: str) -> str:
    """A document with what stands between its marks replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"the document has no place for figures: it needs {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


@one_line()
def main() -> None:
    """Put a run's figures into a document."""
    if len(sys.argv) != 3:
        raise UserError("usage: python -m crosscoder.report.markdown RUN DOCUMENT")
    document = Path(sys.argv[2])
    document.write_text(put(document.read_text(encoding="utf-8"), figures(Run(sys.argv[1]))), encoding="utf-8")


if __name__ == "__main__":
    main()
