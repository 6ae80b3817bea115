"""Progress of long work: task, position, speed and remaining time.

On a terminal there is one line that moves. Elsewhere, e.g. in a log file, there is a plain line
every 30 seconds, and one at the end.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task
from rich.text import Text

from crosscoder.terminal.console import TextConsole

EVERY = 30.0  # seconds between two plain lines
BAR_WIDTH = 24
SPINNER_WIDTH = 2
LEAST_WIDTH_WITH_BAR = 110  # of the terminal; on narrower ones the figures are more useful
NOTE_SEPARATOR = "  "


def progress(unit: str = "tokens", per_step: int = 1) -> Progress:
    """Return a progress display. Its tasks have a `note`, which ends their line.

    Args:
        unit: What is counted.
        per_step: Units per step, if the task counts steps.
    """
    console = TextConsole()
    if not console.is_terminal:
        return PlainProgress(unit, per_step, console)
    columns: list[ProgressColumn] = [SpinnerColumn()]
    width = console.width - SPINNER_WIDTH
    if console.width >= LEAST_WIDTH_WITH_BAR:
        columns.append(BarColumn(bar_width=BAR_WIDTH))
        width -= BAR_WIDTH + 1
    return Progress(*columns, TaskLine(unit, per_step, width), console=console)


@contextmanager
def show_working(title: str) -> Iterator[None]:
    """Show that a piece of work goes on whose position is unknown."""
    with progress() as bar:
        bar.add_task(title, total=None, note="")
        yield


def format_line(task: Task, unit: str, per_step: int, width: int) -> str:
    """Describe a task in one line. Figures that do not fit into `width` are left out."""
    line = task.description
    if task.total is not None:
        counted = unit if per_step == 1 else "steps"
        line = f"{line}: {task.completed:,.0f} of {task.total:,.0f} {counted}"
    parts = []
    speed = task.finished_speed or task.speed
    if speed is not None and task.completed:
        parts.append(f"{_format_number(speed * per_step)} {unit}/s")
    if task.time_remaining and not task.finished:
        parts.append(f"{_format_duration(task.time_remaining)} left")
    else:
        parts.append(_format_duration(task.elapsed or 0))
    parts += task.fields.get("note", "").split(NOTE_SEPARATOR)
    for part in filter(None, parts):
        longer = f"{line}, {part}"
        if len(longer) <= width:
            line = longer
    return line


def _format_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _format_duration(seconds: float) -> str:
    """Return hours, minutes and seconds, e.g. 0:05:30."""
    return str(timedelta(seconds=round(seconds)))


class TaskLine(ProgressColumn):
    """The line of a task on a terminal."""

    def __init__(self, unit: str, per_step: int, width: int) -> None:
        super().__init__()
        self.unit = unit
        self.per_step = per_step
        self.width = width

    def render(self, task: Task) -> Text:
        """Return a text such as `harvest base: 4,096 of 8,192 tokens, 2,150 tokens/s, …`."""
        line = format_line(task, self.unit, self.per_step, self.width)
        return Text(line, no_wrap=True, overflow="ellipsis")


class PlainProgress(Progress):
    """Progress as plain lines, one every 30 seconds and one at the end of a task.

    Args:
        unit: What is counted.
        per_step: Units per step, if the task counts steps.
        console: Console to print to.
        clock: Function that returns the time in seconds; None: the console's clock.
        wait: Function that waits until the next line is due. It takes the number of seconds and
            returns whether the work is done. None: wait for `stop`.
    """

    def __init__(
        self,
        unit: str,
        per_step: int,
        console: Console,
        clock: Callable[[], float] | None = None,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        super().__init__(console=console, get_time=clock)
        self.unit = unit
        self.per_step = per_step
        self._done = threading.Event()
        self._wait = wait or self._done.wait
        self._thread: threading.Thread | None = None
        self._last_lines: dict[Any, str] = {}

    def start(self) -> None:
        """Begin to print lines."""
        if self._thread is not None:
            return
        self._done.clear()
        self._thread = threading.Thread(target=self.print_regularly, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Print the last lines."""
        if self._thread is None:
            return
        self._done.set()
        self._thread.join()
        self._thread = None
        self.print_lines()

    def refresh(self) -> None:
        """Do nothing: lines appear at intervals only."""

    def print_regularly(self) -> None:
        """Print lines until the work is done."""
        while not self._wait(EVERY):
            self.print_lines()

    def print_lines(self) -> None:
        """Print a line for each task that has changed since its last line."""
        if self.disable:
            return
        for task in self.tasks:
            line = format_line(task, self.unit, self.per_step, self.console.width)
            if line != self._last_lines.get(task.id):
                self._last_lines[task.id] = line
                self.console.print(line, highlight=False, soft_wrap=True)
