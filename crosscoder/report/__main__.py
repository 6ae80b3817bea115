"""Write RUN/report.html: `python -m crosscoder.report RUN [--open]`."""

import sys
import webbrowser
from pathlib import Path

from crosscoder.errors import UserError, exit_on_error
from crosscoder.installation import name_command
from crosscoder.io.run_dir import Run
from crosscoder.report.html.page import write_report
from crosscoder.report.terminal.tables import console


@exit_on_error()
def main() -> None:
    """Write a run's report, and open it with `--open`."""
    arguments = sys.argv[1:]
    folders = [argument for argument in arguments if argument != "--open"]
    if len(folders) != 1 or folders[0].startswith("-"):
        raise UserError(f"usage: {name_command('report')} RUN [--open]")
    if not Path(folders[0]).is_dir():
        raise UserError(f"no run at {folders[0]}")
    path = write_report(Run(folders[0]))
    console.print(
        f"{path}, {path.stat().st_size / 1e6:.1f} MB", markup=False, highlight=False, soft_wrap=True
    )
    if "--open" in arguments:
        webbrowser.open(path.resolve().as_uri())


if __name__ == "__main__":
    main()
