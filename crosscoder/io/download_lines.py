"""Progress of downloads in a log file: plain lines, as runtime/progress.py prints them."""

import io
from typing import Any

from rich.filesize import decimal
from tqdm.std import tqdm

from crosscoder.runtime.progress import EVERY
from crosscoder.terminal.console import TextConsole


class DownloadLines(tqdm):
    """A tqdm for huggingface_hub that prints a plain line every 30 seconds.

    A terminal gets huggingface_hub's own bars. Elsewhere these are silent.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        own = {"mininterval": EVERY, "delay": EVERY, "leave": False, "disable": False}
        super().__init__(*args, **settings | own, file=io.StringIO())

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print the line."""
        if msg is None:  # tqdm passes an empty text to clear its line
            TextConsole().print(self.describe(), highlight=False, soft_wrap=True)

    def describe(self) -> str:
        """Return e.g. `Downloading: 1.2 GB of 3.4 GB, 20.1 MB/s, 0:01:50 left`."""
        state = self.format_dict
        total = state["total"]
        is_bytes = state["unit"] == "B"
        done, whole = (decimal(int(n or 0)) if is_bytes else f"{n or 0:,}" for n in (self.n, total))
        parts = [f"{done} of {whole}" if total else done]
        rate = state["rate"] or (self.n / state["elapsed"] if state["elapsed"] else 0)
        if rate and is_bytes:
            parts.append(f"{decimal(int(rate))}/s")
        if rate and total:
            seconds = max(0, total - self.n) / rate
            parts.append(f"{tqdm.format_interval(round(seconds))} left")
        return f"{str(self.desc or 'download').rstrip(': ')}: {', '.join(parts)}"
