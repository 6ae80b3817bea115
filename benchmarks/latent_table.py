"""Write docs/latent_table.md, the columns of the LatentTable: `python -m benchmarks.latent_table`.

A test compares the document with crosscoder/analysis/descriptions.py.
"""

from pathlib import Path

from crosscoder.analysis.descriptions import write_markdown
from crosscoder.io.files import replace_text

DOCUMENT = Path(__file__).parents[1] / "docs" / "latent_table.md"
INTRODUCTION = """# Columns of the LatentTable

The LatentTable has one row per latent and one column per property. `python evaluate.py
crosscoder=RUN eval=[diff]` writes it to `results/latents.parquet`, and `LatentTable.load(path)`
reads it. `table.describe()` returns the descriptions below for the columns of a table.

A word in angle brackets stands for a name: `norm/<source>` is `norm/base` and `norm/chat`. *first*
and *second* are the compared sources, the finetuned one first. *f* is the activation of the latent,
*d* its decoder, *x* an activation vector and *x̂* its reconstruction; *Δ* marks the difference of
the compared sources. Training units are (raw − mean) / scale of each source. A crosscoder without
two compared sources of one width has fewer columns.

This file is written by `python -m benchmarks.latent_table` from
`crosscoder/analysis/descriptions.py`.
"""


def make_document() -> str:
    """Return the document."""
    return f"{INTRODUCTION}\n{write_markdown()}\n"


if __name__ == "__main__":
    replace_text(DOCUMENT, make_document())
