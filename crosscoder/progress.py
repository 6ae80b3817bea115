"""Progress a person can read: what, how far, how fast, how long still."""

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Speed(ProgressColumn):
    """Units per second, times `per_step` units."""

    def __init__(self, unit: str, per_step: int = 1) -> None:
        super().__init__()
        self.unit, self.per_step = unit, per_step

    def render(self, task: Task) -> Text:
        """E.g. `2,150 tokens/s`."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed * self.per_step:,.0f} {self.unit}/s", style="progress.data.speed")


def progress(unit: str = "tokens", per_step: int = 1) -> Progress:
    """A rich progress display; a task may carry a `note` that is shown at the end of its line."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        Speed(unit, per_step),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
