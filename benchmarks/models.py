"""Measure every architecture of transformers: `python -m benchmarks.models [docs/models.md]`.

The models are small and have random weights. tests/reference/test_architectures.py measures the
rows again and compares them with the table.
"""

import sys
from pathlib import Path

import torch
import transformers
from rich.progress import track

from crosscoder.errors import UserError, exit_on_error
from crosscoder.io.files import replace_text
from crosscoder.io.markdown import replace_between
from tests.helpers.architectures import ARCHITECTURES
from tests.helpers.support import row

MARKS = ("<!-- architectures -->", "<!-- end of architectures -->")
COLUMNS = (
    "architecture",
    "resid_post",
    "attn_out",
    "mlp_out",
    "attn_z",
    "documents",
    "left padding",
    "edit",
    "edit with a cache",
    "lens",
    "scores",
)


@exit_on_error()
def main() -> None:
    """Measure every architecture and write the table."""
    if len(sys.argv) > 2:
        raise UserError("usage: python -m benchmarks.models [DOCUMENT]")
    torch.set_num_threads(1)
    rows = [row(model_type) for model_type in track(ARCHITECTURES, description="architectures")]
    path = Path(sys.argv[1] if len(sys.argv) == 2 else "docs/models.md")
    replace_text(path, replace_between(path.read_text(encoding="utf-8"), *MARKS, table(rows)))


def table(rows: list[dict[str, str]]) -> str:
    """Write the measured architectures as a table and the others as a list, in Markdown."""
    lines = [
        f"transformers {transformers.__version__}, `python -m benchmarks.models docs/models.md`",
        "",
    ]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for measured in rows:
        if not measured["note"]:
            lines.append("| " + " | ".join(measured[column] for column in COLUMNS) + " |")
    lines += ["", "Refused or not measured:", ""]
    for other in rows:
        if other["note"]:
            lines.append(f"- `{other['architecture']}`: {other['note']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
