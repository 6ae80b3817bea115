"""A section of the page about one eval, as the template draws it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from crosscoder.report.html.answers import Answers
from crosscoder.report.html.figures import COLOURS
from crosscoder.report.html.plots import Plot

PAIR_COLOURS = ("first", "second")  # of the two sources that are compared


@dataclass(frozen=True)
class Grid:
    """A table of a section.

    Args:
        table: Table of the result that it shows.
        title: Heading.
        rows: Rows, as they are shown.
        note: Text above the table.
        marked: Prefix of the first column in highlighted rows; "" highlights none.
    """

    table: str
    title: str
    rows: list[dict[str, Any]]
    note: str = ""
    marked: str = ""


@dataclass(frozen=True)
class Section:
    """Content of a section; a section without plots, tables and answers is not drawn.

    Args:
        name: Name of the eval, and id on the page.
        title: Heading.
        note: Text below the heading.
        coverage: Size and duration of the eval.
        plots: Plots.
        grids: Tables.
        figures: Single numbers, each with its meaning.
        answers: Answers side by side.
        answers_note: Text above the answers.
    """

    name: str
    title: str
    note: str
    coverage: str = ""
    plots: list[Plot] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    answers: Answers | None = None
    answers_note: str = ""

    def __bool__(self) -> bool:
        return bool(self.plots or self.grids or self.answers)

    @property
    def tables(self) -> set[str]:
        """Return the tables of the result that the section already shows."""
        tables = {grid.table for grid in self.grids}
        if self.answers:
            tables.add("answers")
        return tables


def assign_colours(models: Sequence[str], diff_pair: Sequence[str]) -> dict[str, str]:
    """Assign a colour to every model; the compared pair has the same two on the whole page."""
    colours: dict[str, str] = dict(zip(diff_pair, PAIR_COLOURS, strict=False))
    free = [colour for colour in (*PAIR_COLOURS, *COLOURS) if colour not in colours.values()]
    others = [model for model in dict.fromkeys(models) if model not in colours]
    for number, model in enumerate(others):
        colours[model] = free[number % len(free)]
    return colours
