"""Put the figures of benchmarks into a document: `python -m benchmarks.document FOLDER DOCUMENT`.

Each NAME.json of the folder, as `python -m benchmarks.NAME --json` writes it, goes between `<!--
NAME -->` and `<!-- end of NAME -->`. After `<!-- NAME: TABLE, TABLE -->` only these tables follow.
"""

import json
import re
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
        mark, titles = find_mark(text, file.stem)
        parts = []
        for title, rows in found.get("tables", {}).items():
            if not titles or title in titles:
                parts.append(f"**{title}**\n\n{format_rows(rows)}")
        parts = parts or [format_rows(across(found["rows"]))]
        table = "\n\n".join([f"`{found['command']}`", *parts, found["machine"]])
        text = replace_between(text, mark, f"<!-- end of {file.stem} -->", table)
    replace_text(document, text)


def find_mark(text: str, name: str) -> tuple[str, list[str]]:
    """Return the mark before a file's tables, and the titles that it lists."""
    match = re.search(rf"<!-- {re.escape(name)}(?:: (.+?))? -->", text)
    if match is None:
        return f"<!-- {name} -->", []
    titles = match.group(1)
    return match.group(0), titles.split(", ") if titles else []


if __name__ == "__main__":
    main()
