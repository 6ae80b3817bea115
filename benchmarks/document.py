"""Put the figures of benchmarks into a document: `python -m benchmarks.document FOLDER DOCUMENT`.

Each NAME.json of the folder, as `python -m benchmarks.NAME --json` writes it, goes between `<!--
NAME -->` and `<!-- end of NAME -->`.
"""

import json
import sys
from pathlib import Path

from benchmarks.measure import across
from crosscoder.errors import UserError, exit_on_error
from crosscoder.io.files import replace_text
from crosscoder.io.markdown import replace_between
from crosscoder.report.markdown import format_rows


@exit_on_error()
def main() -> None:
    """Put every file's table into the document."""
    if len(sys.argv) != 3:
        raise UserError("usage: python -m benchmarks.document FOLDER DOCUMENT")
    folder, document = Path(sys.argv[1]), Path(sys.argv[2])
    text = document.read_text(encoding="utf-8")
    for file in sorted(folder.glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        parts = [
            f"**{title}**\n\n{format_rows(rows)}" for title, rows in found.get("tables", {}).items()
        ]
        parts = parts or [format_rows(across(found["rows"]))]
        table = "\n\n".join([f"`{found['command']}`", *parts, found["machine"]])
        text = replace_between(text, f"<!-- {file.stem} -->", f"<!-- end of {file.stem} -->", table)
    replace_text(document, text)


if __name__ == "__main__":
    main()
