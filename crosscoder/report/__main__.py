"""`python -m crosscoder.report RUN [--open]` writes RUN/report.html."""

import sys
import webbrowser
from pathlib import Path

from crosscoder.errors import UserError, one_line
from crosscoder.report.page import write_report
from crosscoder.report.tables import console
from crosscoder.runs import Run


@one_line()
def main() -> None:
    """Write a run's report, and show it if asked to."""
    arguments = sys.argv[1:]
    folders = [argument for argument in arguments if argument != "--open"]
    if len(folders) != 1 or folders[0].startswith("-"):
        raise UserError("usage: python -m crosscoder.report RUN [--open]")
    if not Path(folders[0]).is_dir():
        raise UserError(f"no run at {folders[0]}")
    path = write_report(Run(folders[0]))
    console.print(f"{path}, {path.stat().st_size / 1e6:.1f} MB", markup=False, highlight=False, soft_wrap=True)
    if "--open" in arguments:
        webbrowser.open(path.resolve().as_uri())


if __name__ == "__main__":
    main()
