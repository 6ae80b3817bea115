"""Fit the columns of a table into the width of the terminal without breaking a word.

Columns are made narrower down to their longest word, and the first one, which names the rows, at
most to a third of the terminal. If that is not enough, the table is divided into several, each of
which repeats the first column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

FRAME_PER_COLUMN = 3  # a border and two spaces
FRAME = 1  # the last border


@dataclass(frozen=True)
class Part:
    """Columns that stand side by side.

    Args:
        columns: Numbers of the columns.
        widths: Their widths.
    """

    columns: list[int]
    widths: list[int]


def fit_columns(columns: Sequence[Sequence[str]], width: int) -> list[Part] | None:
    """Divide the columns of a table into parts that fit.

    Args:
        columns: The cells of each column, with its header.
        width: Width of the terminal.

    Returns:
        The parts; None if a column does not fit beside the first one.
    """
    least = [find_longest(" ".join(cells).split()) for cells in columns]
    natural = [find_longest("\n".join(cells).splitlines()) for cells in columns]
    if least and measure([max(least[0], width // 3), max(least)]) <= width:
        least[0] = max(least[0], min(natural[0], width // 3))
    groups: list[list[int]] = [[]]
    for column in range(len(columns)):
        longer = [*groups[-1], column]
        if measure([least[i] for i in longer]) <= width:
            groups[-1] = longer
        elif len(groups[-1]) > 1:
            groups.append([0, column])
        else:
            return None
        if measure([least[i] for i in groups[-1]]) > width:
            return None
    return [_widen(group, least, natural, width) for group in groups]


def find_longest(texts: Sequence[str]) -> int:
    """Return the width of the widest text."""
    return max(map(cell_len, texts), default=0)


def measure(widths: Sequence[int]) -> int:
    """Return the width of a table with its frame."""
    return sum(widths) + FRAME_PER_COLUMN * len(widths) + FRAME


def _widen(group: list[int], least: list[int], natural: list[int], width: int) -> Part:
    """Give the columns of a part what is left of the width, first to those that lack most."""
    widths = [least[column] for column in group]
    for _ in range(width - measure(widths)):
        lacking = [natural[column] - widths[i] for i, column in enumerate(group)]
        if max(lacking, default=0) <= 0:
            break
        widths[lacking.index(max(lacking))] += 1
    return Part(group, widths)
