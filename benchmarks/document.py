"""Benchmarks' figures into a document: `python -m benchmarks.document FOLDER DOCUMENT`.

Each NAME.json of the folder, as `python -m benchmarks.NAME --json` writes it, goes between `<!-- NAME -->` and
`<!-- end of NAME -->`.
"""

import json
import sys
from pathlib import Path

from benchmarks.measure import across
from crosscoder.documents import put
from crosscoder.errors import UserError, one_line
from crosscoder.report.markdown import grid


@one_line()
def main() -> None:
    """Put every file's table into the document."""
    if len(sys.argv) != 3:
        raise UserError("usage: python -m benchmarks.document FOLDER DOCUMENT")
    folder, document = Path(sys.argv[1]), Path(sys.argv[2])
    text = document.read_text(encoding="utf-8")
    for file in sorted(folder.glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        parts = [f"**{title}**\n\n{grid(rows)}" for title, rows in found.get("tables", {}).items()]
        parts = parts or [grid(across(found["rows"]))]
        table = "\n\n".join([f"`{found['command']}`", *parts, found["machine"]])
        text = put(text, f"<!-- {file.stem} -->", f"<!-- end of {file.stem} -->", table)
    document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
