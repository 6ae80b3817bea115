"""Place labels of points so that none covers another label, a point or an error bar."""

from collections.abc import Sequence
from dataclasses import dataclass

# size of a wide and tall plot in pixels
WIDTH = 1110
HEIGHT = 440
# sizes in pixels
CHARACTER_WIDTH = 7.0
LINE_HEIGHT = 16
MARKER_SIZE = 7
# of labels, to the right and down
DIRECTIONS = ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1))
DISTANCES = (12, 22, 36, 52, 70, 90, 112, 136)
DIAGONAL_GAP = 10  # of labels above and below their point
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Mark:
    """A point with its error bar and label, in fractions of the plot from its lower left.

    Args:
        x: Place of the point to the right.
        y: Place of the point upwards.
        low: Lower end of the error bar.
        high: Upper end of the error bar.
        label: Text of the label.
    """

    x: float
    y: float
    low: float
    high: float
    label: str

    @property
    def half_width(self) -> float:
        """Return half of the label's width in pixels."""
        return CHARACTER_WIDTH * len(self.label) / 2

    def point_box(self) -> Box:
        """Return the area of the point and its error bar, in pixels from the upper left."""
        x = self.x * WIDTH
        top = (1 - self.high) * HEIGHT
        bottom = (1 - self.low) * HEIGHT
        return x - MARKER_SIZE, top - MARKER_SIZE, x + MARKER_SIZE, bottom + MARKER_SIZE

    def label_box(self, dx: float, dy: float) -> Box:
        """Return the area of the label if its middle is (dx, dy) pixels from the point."""
        x = self.x * WIDTH + dx
        y = (1 - self.y) * HEIGHT + dy
        half = self.half_width
        return x - half, y - LINE_HEIGHT / 2, x + half, y + LINE_HEIGHT / 2


def place_labels(marks: Sequence[Mark]) -> list[tuple[float, float]]:
    """Return for every mark the offset of its label: the nearest free place.

    Offsets are pixels from the point to the middle of the label, to the right and down.
    """
    occupied = [mark.point_box() for mark in marks]
    offsets = []
    for mark in marks:
        best = _find_free_offset(mark, occupied)
        occupied.append(mark.label_box(*best))
        offsets.append(best)
    return offsets


def _find_free_offset(mark: Mark, occupied: Sequence[Box]) -> tuple[float, float]:
    """Return the nearest of the offsets that cover least."""
    candidates = _list_offsets(mark.half_width)
    return min(candidates, key=lambda offset: _covered_area(mark.label_box(*offset), occupied))


def _list_offsets(half_width: float) -> list[tuple[float, float]]:
    """List possible offsets, the nearest first."""
    offsets = []
    for distance in DISTANCES:
        for right, down in DIRECTIONS:
            gap = DIAGONAL_GAP if down else distance
            offsets.append((right * (half_width + gap), down * distance))
    return offsets


def _covered_area(box: Box, occupied: Sequence[Box]) -> float:
    """Return the area of a label that covers others or lies outside the plot, in square pixels."""
    left, top, right, bottom = box
    outside = max(0.0, -left) + max(0.0, -top)
    outside += max(0.0, right - WIDTH) + max(0.0, bottom - HEIGHT)
    return LINE_HEIGHT * outside + sum(_common_area(box, other) for other in occupied)


def _common_area(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return width * height
